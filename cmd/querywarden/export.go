package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/term"

	"querywarden/audit"
)

// export writes what was chosen, to a file through a new one, so that a broken
// export never looks like a whole one.
func export(ctx context.Context, r *audit.Reader, o *auditOptions, _ string, std streams) (err error) {
	f := o.filter()
	if o.evidence != "" {
		e, err := r.ExportEvidence(ctx, o.evidence, audit.EvidenceOptions{From: f.Since, To: f.Until, Sample: o.sample, Seed: o.seed})
		if err != nil {
			return err
		}
		fmt.Fprintf(std.out, "%s: %s, %d drawn with seed %d; begin with index.html\n", o.evidence, plural(int64(e.Population), "statement"), len(e.Sample), e.Seed)
		return nil
	}
	w := std.out
	write, ok := map[string]func(context.Context, io.Writer, audit.Filter) error{"jsonl": r.ExportJSONL, "csv": r.ExportCSV, "ocsf": r.ExportOCSF}[o.format]
	switch {
	case o.format == "tiles" && o.output == "":
		return usagef("export --format tiles needs a folder: -o DIR")
	case o.format == "tiles":
		return r.ExportTiles(ctx, o.output, progressOn(std.err))
	case !ok:
		return usagef("--format is jsonl, csv, ocsf or tiles")
	case o.follow && (o.output != "" || o.format != "jsonl"):
		return usagef("--follow writes jsonl to standard output")
	case o.follow:
		return o.entries(ctx, r, f, func(e *audit.Entry) error { return e.WriteJSONL(w) })
	}
	if o.output != "" {
		file, err := os.Create(o.output + ".new")
		if err != nil {
			return fmt.Errorf("exporting: %w", err)
		}
		w = file
		defer func() {
			if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
				err = os.Rename(o.output+".new", o.output)
			}
		}()
		f.Progress = progressOn(std.err)
	}
	return write(ctx, w, f)
}

// progressOn tells a terminal how far a long export is. It returns nil where
// nobody is looking.
func progressOn(w io.Writer) func(done, of int64) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	var last time.Time
	return func(done, of int64) {
		if done < of && time.Since(last) < 200*time.Millisecond {
			return
		}
		last = time.Now()
		fmt.Fprintf(w, "\r%d of %d entries", done, of)
		if done == of {
			fmt.Fprintln(w)
		}
	}
}

// writeProof writes a proof, and the entry that it is of, beside it.
func writeProof(ctx context.Context, r *audit.Reader, o *auditOptions, argument string, std streams) error {
	index, err := number(argument)
	if err != nil {
		return err
	}
	p, err := r.Prove(ctx, index)
	if err != nil {
		return err
	}
	if o.output == "" {
		_, err := fmt.Fprint(std.out, p)
		return err
	}
	e, err := r.Entry(ctx, index)
	if err != nil {
		return err
	}
	entry := strings.TrimSuffix(o.output, filepath.Ext(o.output)) + ".json"
	if err := errors.Join(os.WriteFile(o.output, []byte(p.String()), 0o644), os.WriteFile(entry, e.Raw, 0o644)); err != nil {
		return fmt.Errorf("writing the proof: %w", err)
	}
	fmt.Fprintf(std.out, "%s proves that %s is entry %d of the log %s\n", o.output, entry, index, r.Origin())
	return nil
}

func verifyLog(ctx context.Context, r *audit.Reader, o *auditOptions, _ string, std streams) error {
	pinned, err := o.pinned()
	if err != nil {
		return err
	}
	report, err := r.Verify(ctx, pinned)
	if err != nil {
		return err
	}
	if err := printReport(std.out, report); err != nil || o.witness == "" {
		return err
	}
	text, err := os.ReadFile(o.witness)
	if err != nil {
		return fmt.Errorf("reading the witness's key: %w", err)
	}
	key, err := audit.WitnessKey(string(text))
	if err != nil {
		return err
	}
	seen, at, err := r.Witnessed(ctx, key)
	if err != nil {
		return err
	}
	fmt.Fprintf(std.out, "%s cosigned the first %d entries at %s: what came later could still have been cut off at the end.\n", key.Name(), seen.N, at.UTC().Format(time.RFC3339))
	return nil
}

// pinned reads the checkpoint that somebody has kept, nil without.
func (o *auditOptions) pinned() ([]byte, error) {
	if o.checkpoint == "" {
		return nil, nil
	}
	text, err := os.ReadFile(o.checkpoint)
	if err != nil {
		return nil, fmt.Errorf("reading the checkpoint: %w", err)
	}
	return text, nil
}

// keys reads the public keys that somebody has kept.
func (o *auditOptions) keys() (*audit.Keys, error) {
	text, err := os.ReadFile(o.key)
	if err != nil {
		return nil, fmt.Errorf("reading the public key: %w", err)
	}
	return audit.ParseKeys(text)
}

// printKeys prints the log's public keys, each with the checkpoints that it
// signs: what somebody keeps to verify proofs with.
func printKeys(ctx context.Context, r *audit.Reader, _ *auditOptions, _ string, std streams) error {
	keys, err := r.Keys(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(std.out, keys)
	return err
}

// verifyFiles verifies what has left the log: a folder of tiles, or a proof.
func verifyFiles(ctx context.Context, o *auditOptions, std streams) error {
	if o.key == "" {
		return usagef("verify --tiles and --proof need the log's public key: --vkey FILE")
	}
	keys, err := o.keys()
	if err != nil {
		return err
	}
	if o.tiles != "" {
		pinned, err := o.pinned()
		if err != nil {
			return err
		}
		report, err := audit.VerifyTiles(ctx, o.tiles, keys, pinned)
		if err != nil {
			return err
		}
		return printReport(std.out, report)
	}
	if o.entry == "" {
		return usagef("verify --proof needs the entry that it is of: --entry FILE")
	}
	text, err := os.ReadFile(o.proof)
	if err != nil {
		return fmt.Errorf("reading the proof: %w", err)
	}
	p, err := audit.ParseProof(text)
	if err != nil {
		return err
	}
	entry, err := os.ReadFile(o.entry)
	if err != nil {
		return fmt.Errorf("reading the entry: %w", err)
	}
	size, err := p.Verify(entry, keys)
	if err != nil {
		return err
	}
	var e audit.Event
	if err := json.Unmarshal(entry, &e); err != nil {
		return fmt.Errorf("reading the entry: %w", err)
	}
	fmt.Fprintf(std.out, "OK: %s is entry %d of the log %s, which held %d entries then: %s at %s\n", o.entry, p.Index, keys.Origin(), size, e.Kind, e.Time.Format(time.RFC3339))
	return nil
}

func printReport(w io.Writer, r *audit.Report) error {
	fmt.Fprintf(w, "log          %s\n", r.Origin)
	fmt.Fprintf(w, "entries      %d\n", r.Entries)
	fmt.Fprintf(w, "checkpoints  %d signed and consistent\n", r.Checkpoints)
	if r.Erased > 0 {
		fmt.Fprintf(w, "erased       %d texts are gone, their digests hold\n", r.Erased)
	}
	if len(r.Keys) > 1 {
		for i, k := range r.Keys {
			until := "on"
			if k.To != audit.InUse {
				until = fmt.Sprintf("to %d", k.To)
			}
			fmt.Fprintf(w, "key %d        signs the checkpoints of %d entries %s\n", i+1, k.From, until)
		}
	}
	if r.Root != "" {
		fmt.Fprintf(w, "root         %s\n", r.Root)
	}
	if r.OK() {
		fmt.Fprintf(w, "\nOK: no entry up to %s was changed", r.Newest.Format(time.RFC3339))
		if r.Pinned > 0 {
			fmt.Fprintf(w, ", and the log continues the checkpoint of %d entries that you hold.\n", r.Pinned)
			fmt.Fprintf(w, "What came after those %d, from %s on, could still have been cut off at the end.\n", r.Pinned, r.PinnedTime.Format(time.RFC3339))
			return nil
		}
		if r.Witnessed > 0 {
			fmt.Fprintf(w, ".\nA cosignature of a witness over the first %d stands beside it; --witness checks that.\n", r.Witnessed)
			return nil
		}
		fmt.Fprint(w, ".\nWithout a checkpoint of your own (--checkpoint) nobody can tell whether the end was cut off.\n")
		return nil
	}
	for _, f := range r.Findings {
		if f.Index >= 0 {
			fmt.Fprintf(w, "FOUND        entry %d: %s\n", f.Index, f.What)
		} else {
			fmt.Fprintf(w, "FOUND        %s\n", f.What)
		}
	}
	fmt.Fprintf(w, "\nFAILED: the log is not what was recorded (%d findings).\n", len(r.Findings))
	return errSilent
}
