package slack

import (
	"context"
	"log/slog"
	"time"

	"github.com/slack-go/slack"
	"github.com/slack-go/slack/socketmode"
)

const (
	firstWait   = time.Second
	longestWait = 5 * time.Minute
	// steady is how long a connection has to have lasted for the next failure
	// to be taken for a new one.
	steady        = time.Minute
	envelopeLimit = 1 << 20
	ackWithin     = 3 * time.Second // afterwards Slack has given up
)

// listen keeps a Socket Mode client running until the context ends. The client
// connects again by itself, as Slack wants several times a day; it gives up when
// Slack does not take its token, and then it is started again: tokens are
// changed, and a gateway that asks nobody any more is of no use.
func (s *Slack) listen(ctx context.Context) {
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		started := time.Now()
		err := s.connection(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(started) > steady {
			wait = firstWait
		}
		s.config.Logger.Error("Socket Mode has ended", "again_in", wait, "err", err)
		if !pause(ctx, wait) {
			return
		}
	}
}

// connection runs one client until it gives up.
func (s *Slack) connection(ctx context.Context) error {
	client := socketmode.New(s.api, socketmode.OptionReadLimit(envelopeLimit), socketmode.OptionLog(slog.NewLogLogger(s.config.Logger.Handler(), slog.LevelDebug)))
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- client.RunContext(ctx) }()
	for {
		select {
		case e := <-client.Events:
			s.event(ctx, client, e)
		case err := <-ended:
			return err
		}
	}
}

// event takes one event of a client.
func (s *Slack) event(ctx context.Context, client *socketmode.Client, e socketmode.Event) {
	switch e.Type {
	case socketmode.EventTypeInteractive:
		callback, ok := e.Data.(slack.InteractionCallback)
		if !ok || e.Request == nil || e.Request.EnvelopeID == "" {
			s.refuse(ctx, click{}, CodeMalformed)
			return
		}
		s.envelope(ctx, client, e.Request.EnvelopeID, &callback)
	case socketmode.EventTypeConnected:
		s.config.Logger.Info("Socket Mode is connected")
	case socketmode.EventTypeConnectionError, socketmode.EventTypeInvalidAuth, socketmode.EventTypeIncomingError, socketmode.EventTypeErrorWriteFailed:
		if ctx.Err() == nil {
			s.config.Logger.Warn("Socket Mode", "event", string(e.Type), "err", e.Data)
		}
	case socketmode.EventTypeErrorBadMessage:
		s.refuse(ctx, click{}, CodeMalformed)
	case socketmode.EventTypeEventsAPI, socketmode.EventTypeSlashCommand:
		// Nothing was subscribed to. What is not acknowledged comes again.
		if e.Request != nil {
			s.acknowledge(ctx, client, e.Request.EnvelopeID, nil)
		}
	default:
	}
}

// envelope takes a click out of its envelope.
func (s *Slack) envelope(ctx context.Context, client *socketmode.Client, id string, callback *slack.InteractionCallback) {
	c, err := readClick(callback)
	if err != nil {
		s.refuse(ctx, c, CodeMalformed)
		s.acknowledge(ctx, client, id, nil)
		return
	}
	if complaint := c.complaint(); complaint != nil {
		s.acknowledge(ctx, client, id, complaint)
		return
	}
	c.key, c.at = envelopeKey(id), s.config.Now()
	if !s.take(c) {
		// Without an acknowledgement the user is told that it did not work.
		s.config.Logger.Warn("a click came while too many wait")
		return
	}
	s.acknowledge(ctx, client, id, nil)
}

// acknowledge answers an envelope. It does not wait for a connection that is
// gone: the client needs its events to be read to make another.
func (s *Slack) acknowledge(ctx context.Context, client *socketmode.Client, id string, answer any) {
	ctx, cancel := context.WithTimeout(ctx, ackWithin)
	defer cancel()
	if err := client.AckCtx(ctx, id, answer); err != nil {
		s.config.Logger.Warn("acknowledging a click", "err", err)
	}
}
