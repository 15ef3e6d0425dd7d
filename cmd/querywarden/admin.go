package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/user"
	"slices"
	"strconv"
	"time"

	"querywarden/approvals"
	"querywarden/audit"
	"querywarden/policy"
)

// The admin socket is how somebody on the gateway's host approves what waits:
// a unix socket in the data folder, mode 0600, so only the gateway's own user
// and root can open it. Who they are is what the kernel says (SO_PEERCRED),
// never what they send.
//
//	GET  /approvals          the open requests; with ?all=1 the newest of all
//	GET  /approvals/{id}     one request
//	POST /approvals/{id}     {"verb": "approve", "short": "…", "reason": "…"}
//	POST /explain            how a statement would be judged
//	POST /erase              {"caller": …, "reason": "…"}: texts of the log go
//	POST /doctor             what is wrong with the account
//	POST /reconcile          a time: the account's history since then against the log
//	POST /keys               {"finish": bool, "reason": "…"}: the log's key changes

// listenAdmin opens the socket. A socket that nobody answers on is left over
// from a crash: the log's lock has already made sure that this gateway is the
// only one.
func (g *gateway) listenAdmin(ctx context.Context) (net.Listener, error) {
	file := g.config.socket()
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("removing the old admin socket: %w", err)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", file)
	if err != nil {
		return nil, hint(fmt.Errorf("opening the admin socket: %w", err), "the data folder's path may be too long for a unix socket (about 100 characters)")
	}
	if err := os.Chmod(file, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("closing the admin socket to others: %w", err), l.Close())
	}
	return l, nil
}

type peerKey struct{}

// hostIssuer marks identities that the host's kernel vouches for.
const hostIssuer = "host"

// hostVoter is the person at the other end of the admin socket, as a member of
// every approving group: whoever owns the gateway's files could do anything
// anyway. KNOWN_LIMITATIONS.md says so.
func hostVoter(ctx context.Context, required []string) (approvals.Voter, error) {
	uid, ok := ctx.Value(peerKey{}).(uint32)
	if !ok {
		return approvals.Voter{}, errors.New("the kernel does not say who is asking")
	}
	name := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	return approvals.Voter{Identity: policy.Identity{Issuer: hostIssuer, Subject: name}, Groups: required, Via: approvals.ViaHost}, nil
}

// A word on a request, as the command line sends it.
type word struct {
	Verb   string `json:"verb"`  // of runApprovals
	Short  string `json:"short"` // of what was shown; see approvals.Short
	Reason string `json:"reason"`
	Ticket string `json:"ticket"` // of break-glass
}

// say passes a word on.
func (g *gateway) say(ctx context.Context, id string, w word) (approvals.Request, error) {
	r, err := g.approvals.Get(ctx, id)
	if err != nil {
		return r, err
	}
	groups := r.Approval.Groups
	if glass := r.Approval.BreakGlass; glass != nil {
		groups = slices.Concat(groups, glass.Groups)
	}
	voter, err := hostVoter(ctx, groups)
	if err != nil {
		return r, err
	}
	switch w.Verb {
	case "approve", "deny":
		return g.approvals.Vote(ctx, id, w.Short, voter, w.Verb == "approve", w.Reason)
	case "revoke":
		return g.approvals.Revoke(ctx, id, voter, w.Reason)
	case "break-glass":
		return g.approvals.BreakGlass(ctx, id, w.Short, voter, w.Reason, w.Ticket)
	case "ack":
		return g.approvals.Acknowledge(ctx, id, voter, w.Reason)
	case "settle-done":
		return g.approvals.Settle(ctx, id, voter, approvals.Done, w.Reason)
	case "settle-failed":
		return g.approvals.Settle(ctx, id, voter, approvals.Failed, w.Reason)
	default:
		return r, fmt.Errorf("there is no verb %q", w.Verb)
	}
}

func (g *gateway) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /approvals", func(w http.ResponseWriter, r *http.Request) {
		list, err := g.approvals.List(r.Context(), approvals.Filter{All: r.FormValue("all") != ""})
		answerAdmin(w, list, err)
	})
	mux.HandleFunc("GET /approvals/{id}", func(w http.ResponseWriter, r *http.Request) {
		one, err := g.approvals.Get(r.Context(), r.PathValue("id"))
		answerAdmin(w, one, err)
	})
	mux.HandleFunc("POST /approvals/{id}", func(w http.ResponseWriter, r *http.Request) {
		var said word
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&said); err != nil {
			answerAdmin(w, nil, fmt.Errorf("reading the vote: %w", err))
			return
		}
		one, err := g.say(r.Context(), r.PathValue("id"), said)
		answerAdmin(w, one, err)
	})
	mux.HandleFunc("POST /explain", func(w http.ResponseWriter, r *http.Request) {
		var q question
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, statementLimit)).Decode(&q); err != nil {
			answerAdmin(w, nil, fmt.Errorf("reading the question: %w", err))
			return
		}
		answerAdmin(w, g.explain(q.Caller, q.SQL), nil)
	})
	mux.HandleFunc("POST /erase", func(w http.ResponseWriter, r *http.Request) {
		var e erasure
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&e); err != nil {
			answerAdmin(w, nil, fmt.Errorf("reading what to erase: %w", err))
			return
		}
		by, err := hostVoter(r.Context(), nil)
		if err != nil {
			answerAdmin(w, nil, err)
			return
		}
		n, err := g.log.Erase(r.Context(), e.of(&audit.Caller{Issuer: by.Issuer, Subject: by.Subject}))
		answerAdmin(w, n, err)
	})
	mux.HandleFunc("POST /doctor", func(w http.ResponseWriter, r *http.Request) {
		findings, err := g.examined(r.Context())
		answerAdmin(w, findings, err)
	})
	mux.HandleFunc("POST /reconcile", func(w http.ResponseWriter, r *http.Request) {
		var since time.Time
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&since); err != nil {
			answerAdmin(w, nil, fmt.Errorf("reading since when: %w", err))
			return
		}
		report, err := g.reconcile(r.Context(), since)
		answerAdmin(w, report, err)
	})
	mux.HandleFunc("POST /keys", func(w http.ResponseWriter, r *http.Request) {
		var k rotation
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&k); err != nil {
			answerAdmin(w, nil, fmt.Errorf("reading how to rotate: %w", err))
			return
		}
		by, err := hostVoter(r.Context(), nil)
		if err != nil {
			answerAdmin(w, nil, err)
			return
		}
		rotate := g.log.AddKey
		if k.Finish {
			rotate = g.log.RetireKey
		}
		vkey, err := rotate(r.Context(), &audit.Caller{Issuer: by.Issuer, Subject: by.Subject}, k.Reason)
		answerAdmin(w, vkey, err)
	})
	return mux
}

// rotation is a step of changing the log's key, as the command line sends it.
type rotation struct {
	Finish bool   `json:"finish"`
	Reason string `json:"reason"`
}

// erasure is what is to be erased, as the command line sends it.
type erasure struct {
	Since   time.Time `json:"since"`
	Until   time.Time `json:"until"`
	Subject string    `json:"subject"`
	Email   string    `json:"email"`
	Session string    `json:"session"`
	Texts   []string  `json:"texts"`
	Reason  string    `json:"reason"`
}

func (e erasure) of(by *audit.Caller) audit.Erasure {
	return audit.Erasure{
		Filter: audit.Filter{Since: e.Since, Until: e.Until, Subject: e.Subject, Email: e.Email, Session: e.Session},
		Texts:  e.Texts, Reason: e.Reason, By: by,
	}
}

func answerAdmin(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusConflict)
		v = map[string]string{"error": err.Error()}
	}
	if err := json.NewEncoder(w).Encode(v); err != nil {
		panic(http.ErrAbortHandler) // the other side sees a broken answer, not half of one
	}
}
