package client

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
)

// Tell posts an event to another path of the gateway's, such as /hooks/claude,
// as JSON. A token that is refused is renewed once.
func (g *Gateway) Tell(ctx context.Context, path string, event []byte) error {
	u := *g.url
	u.Path, u.RawPath = path, ""
	for _, fresh := range []bool{false, true} {
		token, err := g.token(ctx, fresh)
		if err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(event))
		if err != nil {
			return fmt.Errorf("telling the gateway: %w", err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := g.http.Do(req)
		if err != nil {
			return fmt.Errorf("telling the gateway: %w", err)
		}
		text, _ := io.ReadAll(io.LimitReader(res.Body, 256)) // what it says, if it says something
		if err := res.Body.Close(); err != nil {
			return fmt.Errorf("telling the gateway: %w", err)
		}
		switch {
		case res.StatusCode/100 == 2:
			return nil
		case res.StatusCode != http.StatusUnauthorized || fresh:
			return fmt.Errorf("telling the gateway: it answers %s: %q", res.Status, bytes.TrimSpace(text))
		}
	}
	return nil
}
