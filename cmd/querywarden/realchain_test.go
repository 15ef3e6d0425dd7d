package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"querywarden/audit"
	"querywarden/internal/modeltest"
)

// fiftyCalls is a script of 50 calls, ten behind each of five prompts of one
// conversation, up to four at once. Each prompt asks the same three statements
// again and again, so that nothing but the names that the client gives its calls
// tells which is which. What a call is for names its place in the script; no
// join reads that.
func fiftyCalls() (prompts []string, steps []modeltest.Step) {
	statements := []string{"select count(*) as n from customers", "select email from customers order by id limit 1", "select 1 as one"}
	for _, number := range []string{"first", "second", "third", "fourth", "fifth"} {
		prompt := "This is the " + number + " of my questions: who are our customers?"
		for i := range 10 {
			steps = append(steps, modeltest.Step{
				Tool: "query", Prompt: prompt, Beside: i%4 != 0,
				Arguments: map[string]any{"sql": statements[i%len(statements)], "purpose": scripted(len(steps))},
			})
		}
		prompts = append(prompts, prompt)
	}
	return prompts, steps
}

// scripted is what the call at a place of the script is for.
func scripted(place int) string { return fmt.Sprintf("step %02d of the script", place) }

// linkedExactly asks the prompts one after the other and then reads the log:
// each call of the script ran, and is linked to the prompt that it was behind, by
// the client's own names and nothing less.
func linkedExactly(t *testing.T, h *home, m *modeltest.Server, prompts []string, ask func(prompt string, more bool) string) {
	t.Helper()
	began := time.Now()
	const calls = 50
	for i, prompt := range prompts {
		if out := ask(prompt, i > 0); !strings.Contains(out, modeltest.Done) || len(m.Results()) != (i+1)*calls/len(prompts) {
			t.Fatalf("behind prompt %d the model has got %d results\n%s", i, len(m.Results()), out)
		}
	}
	for i, result := range m.Results() {
		if !strings.Contains(result, "completed") {
			t.Fatalf("call %d was answered %s", i, result)
		}
	}
	took := time.Since(began)
	c, err := loadConfig(filepath.Join(h.w.dir, "querywarden.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := audit.OpenReader(c.auditFile())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got links
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if got, err = linksOf(t.Context(), r, prompts, m); err != nil {
			t.Fatal(err)
		}
		if got.linked >= calls || time.Now().After(deadline) {
			break
		}
	}
	t.Logf("%d of %d calls linked, %d exactly, %d under the right prompt, %d announced by hooks; %d conversations, %d prompts; asked and answered in %v",
		got.linked, calls, got.exact, got.right, got.announced, got.conversations, got.prompts, took.Round(100*time.Millisecond))
	if want := (links{calls, calls, calls, calls, 1, len(prompts)}); got != want {
		t.Errorf("the log has %+v, want %+v", got, want)
	}
}

// links is what the log knows of a script.
type links struct {
	linked        int // calls of the script, each counted once
	exact         int // of them, by the client's names
	right         int // of them, under the prompt that the script has them behind
	announced     int // of them, that the client had told of
	conversations int
	prompts       int
}

// linksOf counts the links of the conversations that hold the prompts, told by
// the client of this model.
func linksOf(ctx context.Context, r *audit.Reader, prompts []string, m *modeltest.Server) (links, error) {
	var n links
	var names []string
	for e, err := range r.Entries(ctx, audit.Filter{Kind: audit.KindDecision}) {
		if err != nil {
			return n, err
		}
		if !m.Named(e.Event.CallID) {
			continue
		}
		chains, err := r.ChainsOf(ctx, e.Index)
		if errors.Is(err, audit.ErrNoChain) {
			continue // not yet
		}
		if err != nil {
			return n, err
		}
		for _, c := range chains {
			if !slices.Contains(names, c.Conversation) {
				names = append(names, c.Conversation)
			}
		}
	}
	seen := map[string]bool{}
	for _, name := range names {
		chains, err := r.Chains(ctx, name)
		if err != nil {
			return n, err
		}
		for _, c := range chains {
			n.conversations++
			for _, turn := range c.Turns {
				if turn.Prompt != nil {
					n.prompts++
				}
				for _, call := range turn.Calls {
					n.count(turn, call, prompts, seen)
				}
			}
		}
	}
	return n, nil
}

// count counts one call that is linked to a turn.
func (n *links) count(turn *audit.Turn, call *audit.ChainCall, prompts []string, seen map[string]bool) {
	if call.Call == nil {
		return
	}
	place := call.Call.Texts["purpose"]
	if seen[place] {
		return
	}
	seen[place] = true
	n.linked++
	if call.How == "exact" {
		n.exact++
	}
	if call.Announced != nil && call.Announced.Event.CallID == call.Call.Event.CallID {
		n.announced++
	}
	for i, prompt := range prompts {
		each := 50 / len(prompts)
		for j := range each {
			if place == scripted(i*each+j) && turn.Prompt != nil && turn.Prompt.Texts["prompt"] == prompt {
				n.right++
			}
		}
	}
}
