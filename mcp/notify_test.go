package mcp

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// TestNotificationsAreNotLost: what a tool tells before it answers arrives
// before the answer, all of it and in order, however many call at once. mcp-go
// by itself loses the last, and mixes those of one session's calls up.
func TestNotificationsAreNotLost(t *testing.T) {
	w := newWorld(t, nil)
	mountFixture(w.server)
	token := w.token(t, "ada")
	for _, era := range eras {
		t.Run(era.name, func(t *testing.T) {
			c := wire{url: w.url, token: token, modern: !era.legacy}
			if era.legacy {
				c = c.open(t)
			}
			var calls sync.WaitGroup
			for n := range 200 {
				if n%20 == 0 {
					calls.Wait() // fewer than a caller may have under way
				}
				calls.Go(func() {
					meta := map[string]any{"progressToken": n}
					if c.modern {
						meta = modernMeta(meta)
					}
					resp, err := c.post(t.Context(), toolCall(n, "test_tool_with_progress", map[string]any{}, meta))
					if err != nil {
						t.Error(err)
						return
					}
					defer resp.Body.Close()
					got := events(t, resp.Body)
					if len(got) != 4 {
						t.Errorf("call %d: %q", n, got)
						return
					}
					for i, progress := range []int{0, 50, 100} {
						if want := fmt.Sprintf(`"progress":%d,"progressToken":%d,`, progress, n); !strings.Contains(got[i], want) {
							t.Errorf("call %d: %s, want %s", n, got[i], want)
						}
					}
					if !strings.Contains(got[3], fmt.Sprintf(`"id":%d,`, n)) || !strings.Contains(got[3], `"done"`) {
						t.Errorf("call %d: answered %s", n, got[3])
					}
				})
			}
			calls.Wait()
		})
	}
}
