// Package capture takes what agents' clients tell of conversations, and joins it
// to what the gate saw: from what a person said to what ran.
//
// An MCP request never holds the conversation. The clients' hooks and their
// telemetry do, and name the same calls by the same names. All of it is asserted
// by the client: it is recorded as evidence, with its source, and decides
// nothing. A rule may demand that there is a conversation
// ([querywarden/policy] conversation: present); that shows that the client's
// hooks are alive, and is no proof of what was said.
//
// # Intake
//
//	POST /hooks/claude   Claude Code's hooks, of type http or by `querywarden hook`
//	POST /hooks/codex    Codex's hooks, and its notify
//	POST /hooks/cursor   Cursor's
//	POST /hooks/devin    Devin's command line's
//	POST /v1/logs        OTLP/HTTP logs, JSON or protobuf, perhaps gzip
//
// Who tells is who the bearer token says, never what the event says. Each event
// becomes some of three records, with these fields and no others:
//
//	prompt    conversation, turn, trace, model, folder, and the words
//	tool_use  conversation, turn, trace, the call's name, the tool; and, in memory
//	          only, a digest of its argument
//	response  conversation, turn, trace, model, and the words
//
// A tool_use is taken only for the gate's own tools: what else an agent does is
// not the gate's business. Results of tools are not read at all, so rows never
// come in this way. Events that are not in the table are left alone.
//
//	                 prompt                        tool_use                    response
//	Claude Code      UserPromptSubmit              PreToolUse                  Stop
//	 by OTLP         claude_code.user_prompt       claude_code.tool_decision,  claude_code.assistant_response
//	                                               claude_code.tool_result
//	Codex            UserPromptSubmit              PreToolUse                  Stop
//	 by notify       agent-turn-complete           –                           agent-turn-complete
//	 by OTLP         codex.user_prompt             codex.tool_decision,        –
//	                                               codex.tool_result
//	Cursor           beforeSubmitPrompt            beforeMCPExecution          afterAgentResponse
//	Devin            UserPromptSubmit              PreToolUse                  Stop
//
// The same record told twice, by a hook and by telemetry, is one. Texts go
// through the policy's detectors before they are stored, are cut at 64 KiB, and
// stand beside the log's tree, where they can be erased.
//
// The queue is bounded, a person may tell so much a second, and one goroutine
// writes, a few records to a commit: whatever comes in, the gate's own calls wait
// for one such commit at most. What is not taken is counted in the log.
//
// # The join
//
// A call that the gate has recorded belongs to a turn of a conversation of the
// same person, and of nobody else. An event of kind joined says so, and how it is
// known:
//
//	exact    the client gave the call its name in both: claudecode/toolUseId,
//	         Codex's callId, or the conversation and its turn
//	traced   both carry the same trace (W3C Trace Context)
//	matched  the call carries no name; the client had told, within 30 seconds, of a
//	         call of the same tool with the same argument by the same person
//
// What is told late is joined backwards, as long as the call is among the
// person's last 1,000 of the last hour.
//
// Sources: code.claude.com/docs/en/hooks and /monitoring-usage,
// developers.openai.com/codex (hooks, notify, otel), cursor.com/docs/agent/hooks,
// docs.devin.ai (command line, API v3), opentelemetry.io/docs/specs/otlp.
package capture

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"querywarden/audit"
	"querywarden/policy"
	"querywarden/policy/mask"
)

// A Record is one thing that a client tells.
type Record struct {
	Kind         audit.Kind // prompt, response or tool_use
	Source       string     // claude, codex, cursor, devin
	Conversation string
	Turn         string
	CallID       string
	Trace        string
	Model        string
	Tool         string // of the gate
	Text         string // the prompt, or the response
	Folder       string

	argument digest // of a tool_use
	matches  bool   // argument means something
}

// A digest names a call by its tool and its argument. It is never stored: short
// arguments could be guessed.
type digest [sha256.Size]byte

func digestOf(tool, argument string) digest { return sha256.Sum256([]byte(tool + "\x00" + argument)) }

// Config of a [Store]. Log, Reader and Policy are required.
type Config struct {
	Log    *audit.Log
	Reader *audit.Reader // of the same log
	Policy *policy.Policy
	Logger *slog.Logger     // discarded if nil
	Now    func() time.Time // time.Now if nil

	PerSecond int // records of one person in the long run; 50 if zero
	Burst     int // at once; 500 if zero
	Queue     int // records that wait to be written; 4096 if zero
}

// A Store takes records and joins them. It is safe for concurrent use.
type Store struct {
	config  Config
	keeps   policy.Conversations
	scanner *mask.Scanner
	queue   chan told

	mu      sync.Mutex
	people  map[person]*known
	dropped int64 // since the log was last told

	join       *joiner
	background context.Context // until it is closed
	stop       context.CancelFunc
	stopped    sync.WaitGroup
}

// A person is who a caller is, or acts for: never a name that a client gives.
type person struct{ issuer, subject string }

func personOf(c policy.Caller) person {
	if c.Behind != nil {
		return person{c.Behind.Issuer, c.Behind.Subject}
	}
	return person{c.Issuer, c.Subject}
}

// known is what is remembered of a person.
type known struct {
	tokens float64 // of the rate limit
	at     time.Time
	seen   map[string]time.Time // records, to know one that comes twice
	calls  map[string]time.Time // that were announced, by the client's name
	last   time.Time            // of any prompt or announced call
}

// told is a record on its way to the log.
type told struct {
	caller policy.Caller
	record Record
	at     time.Time
}

// The bounds of what is kept.
const (
	maxText     = 64 << 10 // bytes of a prompt or a response
	maxWord     = 128      // of a name that a client gives
	maxSeen     = 2048     // records of one person that are known again
	maxPeople   = 10_000
	batchSize   = 64        // records to a commit
	batchBytes  = 256 << 10 // and their texts
	gatherFor   = 20 * time.Millisecond
	presentFor  = 30 * time.Minute
	tellDropped = time.Minute
)

// The errors of [Store.Take].
var (
	ErrOff     = errors.New("the policy keeps no conversations")
	ErrTooFast = errors.New("you tell too much at once")
	ErrFull    = errors.New("too much is waiting to be recorded")
)

// Open begins to take records and to join them. Close ends that.
func Open(ctx context.Context, c Config) (*Store, error) {
	if c.Log == nil || c.Reader == nil || c.Policy == nil {
		return nil, errors.New("opening capture: the log, its reader and the policy are required")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	for value, otherwise := range map[*int]int{&c.PerSecond: 50, &c.Burst: 500, &c.Queue: 4096} {
		if *value <= 0 {
			*value = otherwise
		}
	}
	s := &Store{config: c, keeps: c.Policy.Conversations(), queue: make(chan told, c.Queue), people: map[person]*known{}}
	if s.keeps == policy.ConversationsOff {
		s.stop = func() {}
		return s, nil
	}
	var err error
	if s.scanner, err = mask.NewScanner(c.Policy.ConversationDetectors()...); err != nil {
		return nil, fmt.Errorf("opening capture: %w", err)
	}
	s.background, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	s.join = newJoiner(c)
	s.stopped.Go(func() { s.write(s.background) })
	s.stopped.Go(func() { s.join.run(s.background) })
	return s, nil
}

// Close writes what waits and ends the work.
func (s *Store) Close() {
	s.stop()
	s.stopped.Wait()
}

// On reports whether anything is taken.
func (s *Store) On() bool { return s.keeps != policy.ConversationsOff }

// Take takes what a caller's client tells. It does not wait for the log.
func (s *Store) Take(caller policy.Caller, records []Record) error {
	if !s.On() {
		return ErrOff
	}
	now := s.config.Now()
	for _, r := range records {
		if err := s.take(caller, r, now); err != nil {
			s.mu.Lock()
			s.dropped++
			s.mu.Unlock()
			return err
		}
	}
	return nil
}

func (s *Store) take(caller policy.Caller, r Record, now time.Time) error {
	r.clean()
	name, words := r.name(), r.words()
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.known(personOf(caller), now)
	k.tokens = min(float64(s.config.Burst), k.tokens+now.Sub(k.at).Seconds()*float64(s.config.PerSecond))
	if k.at = now; k.tokens < 1 {
		return ErrTooFast
	}
	k.tokens--
	if _, again := k.seen[name]; again {
		return nil
	}
	if _, again := k.seen[words]; again && r.Turn == "" && words != "" {
		return nil
	}
	select {
	case s.queue <- told{caller, r, now}:
	default:
		return ErrFull
	}
	forget(k.seen, maxSeen)
	if k.seen[name] = now; words != "" {
		k.seen[words] = now
	}
	if r.Kind != audit.KindResponse {
		k.last = now
	}
	if r.CallID != "" {
		forget(k.calls, maxSeen)
		k.calls[r.CallID] = now
	}
	return nil
}

// forget makes room in a full map: half of it, whatever that is.
func forget(m map[string]time.Time, size int) {
	if len(m) < size {
		return
	}
	for key := range m {
		if delete(m, key); len(m) <= size/2 {
			return
		}
	}
}

// known is what is remembered of a person, under the lock.
func (s *Store) known(p person, now time.Time) *known {
	k := s.people[p]
	if k != nil {
		return k
	}
	if len(s.people) >= maxPeople {
		for other, o := range s.people {
			if now.Sub(o.at) > presentFor || len(s.people) >= maxPeople {
				delete(s.people, other)
			}
		}
	}
	k = &known{tokens: float64(s.config.Burst), at: now, seen: map[string]time.Time{}, calls: map[string]time.Time{}}
	s.people[p] = k
	return k
}

// Present reports whether the caller's client has told of this call, or where
// the client does not name its calls, of anything in the last half hour.
func (s *Store) Present(caller policy.Caller, callID string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.people[personOf(caller)]
	if k == nil {
		return false
	}
	now := s.config.Now()
	if callID != "" {
		at, ok := k.calls[callID]
		return ok && now.Sub(at) <= presentFor
	}
	return !k.last.IsZero() && now.Sub(k.last) <= presentFor
}

// name is the same for records that tell the same.
func (r *Record) name() string {
	switch {
	case r.Kind == audit.KindToolUse && r.CallID != "":
		return string(r.Kind) + "\x00" + r.CallID
	case r.Kind != audit.KindToolUse && r.Turn != "":
		return string(r.Kind) + "\x00" + r.Conversation + "\x00" + r.Turn
	default: // nothing tells it from another that looks the same
		return string(r.Kind) + rand.Text()
	}
}

// words is the same for records of the same words in the same conversation:
// telemetry of some clients does not name the turn.
func (r *Record) words() string {
	if r.Text == "" {
		return ""
	}
	d := sha256.Sum256([]byte(r.Text))
	return string(r.Kind) + "\x00" + r.Conversation + "\x00" + string(d[:])
}

// clean bounds a record and takes from its names what no terminal should see.
func (r *Record) clean() {
	for _, word := range []*string{&r.Conversation, &r.Turn, &r.CallID, &r.Trace, &r.Model, &r.Tool, &r.Source} {
		*word = clip(strings.Map(printable, *word), maxWord)
	}
	r.Folder = clip(strings.ToValidUTF8(r.Folder, "\uFFFD"), 1024)
	if r.Text = strings.ToValidUTF8(r.Text, "\uFFFD"); len(r.Text) > maxText {
		// Cut between words: of half a number no detector knows what it was.
		kept := clip(r.Text, maxText)
		if i := strings.LastIndexFunc(kept, unicode.IsSpace); i > maxText-256 {
			kept = kept[:i]
		}
		r.Text = kept + fmt.Sprintf("\n[cut: %d bytes in all]", len(r.Text))
	}
}

// printable drops what a terminal would act on, or not show.
func printable(r rune) rune {
	if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
		return -1
	}
	return r
}

// clip cuts a text at a whole character.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// write writes records until the context ends, and then what still waits.
func (s *Store) write(ctx context.Context) {
	tick := time.NewTicker(tellDropped)
	defer tick.Stop()
	for {
		select {
		case t := <-s.queue:
			select { // few commits with many records hold up others less
			case <-time.After(gatherFor):
			case <-ctx.Done():
			}
			s.record(t)
		case <-tick.C:
			s.tellDropped()
		case <-ctx.Done():
			for {
				select {
				case t := <-s.queue:
					s.record(t)
					continue
				default:
				}
				break
			}
			s.tellDropped()
			return
		}
	}
}

// record writes a record and those that wait behind it.
func (s *Store) record(first told) {
	batch, size := []told{first}, len(first.record.Text)
	for len(batch) < batchSize && size < batchBytes {
		select {
		case t := <-s.queue:
			batch, size = append(batch, t), size+len(t.record.Text)
			continue
		default:
		}
		break
	}
	events := make([]audit.Event, len(batch))
	for i := range batch {
		events[i] = s.event(batch[i])
	}
	err := s.config.Log.Update(context.Background(), func(tx *audit.Tx) error {
		for i := range events {
			r, err := tx.Append(events[i])
			if errors.Is(err, audit.ErrTooLarge) {
				continue // names are bounded, so this is a caller with very many groups
			}
			if err != nil {
				return err
			}
			batch[i].record.index(s.join, r.Index())
		}
		return nil
	})
	if err != nil {
		s.config.Logger.Error("recording what clients tell", "err", err)
	}
}

// index tells the joiner of a digest that is nowhere else.
func (r *Record) index(j *joiner, index int64) {
	if r.Kind == audit.KindToolUse && r.matches {
		j.digests.put(index, r.argument)
	}
}

// event is a record as the log keeps it.
func (s *Store) event(t told) audit.Event {
	r := t.record
	e := audit.Event{
		Kind: r.Kind, Caller: callerOf(t.caller), Source: r.Source, Conversation: r.Conversation, Turn: r.Turn, CallID: r.CallID, Trace: r.Trace,
		Model: r.Model, Tool: r.Tool, Folder: r.Folder,
	}
	text := r.Text
	switch {
	case text == "":
	case s.keeps == policy.ConversationsFull:
	case s.keeps == policy.ConversationsMasked:
		var found mask.Counts
		text, found = s.scanner.Redact(text)
		e.Redacted = found.ByName()
	default:
		text, e.Folder = digestText(text), ""
	}
	if r.Kind == audit.KindPrompt {
		e.Prompt = text
	} else {
		e.Response = text
	}
	return e
}

// digestText stands for a text that is not kept: whoever has the text can show
// that it was this one.
func digestText(text string) string {
	salt := make([]byte, 32)
	rand.Read(salt)
	mac := hmac.New(sha256.New, salt)
	mac.Write([]byte(text))
	return fmt.Sprintf("[not kept: %d bytes, HMAC-SHA256 %x under %x]", len(text), mac.Sum(nil), salt)
}

func callerOf(c policy.Caller) *audit.Caller {
	out := &audit.Caller{Issuer: c.Issuer, Subject: c.Subject, Email: c.Email, Groups: c.Groups, Kind: c.Kind.String()}
	if c.Behind != nil {
		out.Behind = c.Behind.Issuer + " " + c.Behind.Subject
	}
	return out
}

// tellDropped records how much was not taken.
func (s *Store) tellDropped() {
	s.mu.Lock()
	n := s.dropped
	s.dropped = 0
	s.mu.Unlock()
	if n == 0 {
		return
	}
	s.config.Logger.Warn("not all that clients told was taken", "records", n)
	if _, err := s.config.Log.Append(context.Background(), audit.Event{Kind: audit.KindDropped, Count: n}); err != nil {
		s.config.Logger.Error("recording what was not taken", "err", err)
	}
}
