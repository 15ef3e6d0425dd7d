package capture

import (
	"fmt"
	"testing"
	"time"

	"querywarden/audit"
	"querywarden/internal/capture/capturetest"
	"querywarden/policy"
)

// TestDevin: messages of known people's sessions come once each, over pages, an
// outage and sessions that grow; those of others do not.
func TestDevin(t *testing.T) {
	w := newWorld(t, "masked")
	devin := capturetest.NewDevin("cog_x", 2, time.Now().Add(-time.Minute).Unix())
	defer devin.Close()
	devin.Say("abc", "user-ada", capturetest.Message{ID: "old", Source: "user", Text: "from before"})
	err := w.FollowDevin(DevinConfig{
		URL: devin.URL, Organization: "org-1", Token: func() (string, error) { return "cog_x", nil }, Every: 10 * time.Millisecond,
		People: map[string]policy.Caller{"user-ada": ada},
	})
	if err != nil {
		t.Fatal(err)
	}
	prompts := func(n int) {
		t.Helper()
		var found []string
		for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
			found = nil
			for e, err := range w.reader.Entries(t.Context(), audit.Filter{Kind: audit.KindPrompt}) {
				if err != nil {
					t.Fatal(err)
				}
				if e.Event.Caller.Subject != "ada" || e.Event.Source != "devin" {
					t.Fatalf("%+v", e.Event)
				}
				found = append(found, e.Texts["prompt"])
			}
			if len(found) >= n || time.Since(start) > 20*time.Second {
				break
			}
		}
		seen := map[string]bool{}
		for _, p := range found {
			seen[p] = true
		}
		if len(found) != n || len(seen) != n {
			t.Fatalf("%d prompts, want %d: %q", len(found), n, found)
		}
	}
	devin.Now(time.Now().Add(time.Minute).Unix())
	for i := range 5 {
		devin.Say("abc", "user-ada", capturetest.Message{ID: fmt.Sprint("e", i), Source: "user", Text: fmt.Sprint("question ", i)})
		devin.Say("other", "user-eve", capturetest.Message{ID: fmt.Sprint("f", i), Source: "user", Text: fmt.Sprint("a stranger's ", i)})
	}
	prompts(5)
	devin.Say("abc", "user-ada", capturetest.Message{ID: "a", Source: "devin", Text: "I pay with 4111 1111 1111 1111"})
	devin.Down(true)
	time.Sleep(30 * time.Millisecond)
	devin.Say("def", "user-ada", capturetest.Message{ID: "g", Source: "user", Text: "another session"})
	devin.Down(false)
	prompts(6)
	w.settle(t)
	chains, err := w.reader.Chains(t.Context(), "devin-abc")
	if err != nil || len(chains) != 1 || len(chains[0].Turns) != 6 {
		t.Fatalf("%+v, %v", chains, err)
	}
	if r := chains[0].Turns[5].Response; r == nil || r.Texts["response"] != "I pay with [card number]" {
		t.Errorf("%+v", r)
	}
	if err := w.FollowDevin(DevinConfig{}); err == nil {
		t.Error("read without an organization")
	}
}
