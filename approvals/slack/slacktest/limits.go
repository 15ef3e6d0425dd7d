package slacktest

import (
	"encoding/json"
	"fmt"
	"unicode/utf16"
)

// The limits of Block Kit, in characters unless they say otherwise.
const (
	maxBlocks       = 50
	maxModalBlocks  = 100
	maxText         = 3000
	maxHeader       = 150
	maxButton       = 75
	maxValue        = 2000
	maxURL          = 3000
	maxID           = 255
	maxConfirm      = 300
	maxConfirmTitle = 100
	maxConfirmWord  = 30
	maxContext      = 10
	maxActions      = 25
	maxLabel        = 2000
	maxModalWord    = 24
	maxMetadata     = 3000
	maxAll          = 13_200
	maxMessageText  = 40_000
)

// length counts as JavaScript does.
func length(s string) int { return len(utf16.Encode([]rune(s))) }

// A checker goes through blocks and stops at the first mistake.
type checker struct {
	err error
	all int
	ids map[string]bool
}

func (c *checker) failf(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf(format, args...)
	}
}

// max checks the text below a key.
func (c *checker) max(b Block, key string, limit int) {
	v, ok := b[key]
	if !ok {
		return
	}
	s, ok := v.(string)
	if !ok {
		c.failf("%s of a %s is no string", key, b.String("type"))
	}
	if n := length(s); n > limit {
		c.failf("%s of a %s has %d characters, over %d", key, b.String("type"), n, limit)
	}
}

// text checks a text object.
func (c *checker) text(v any, limit int, plain bool) {
	b, ok := v.(map[string]any)
	if !ok {
		c.failf("a text object is missing")
		return
	}
	switch kind := b["type"]; {
	case kind == "plain_text", kind == "mrkdwn" && !plain:
	default:
		c.failf("%v is no kind of text here", kind)
	}
	s := Block(b).String("text")
	if s == "" {
		c.failf("a text is empty")
	}
	c.max(b, "text", limit)
	c.all += length(s)
}

func list(v any) []Block {
	elements, _ := v.([]any)
	var out []Block
	for _, e := range elements {
		b, _ := e.(map[string]any)
		out = append(out, b)
	}
	return out
}

// checkBlocks says what Slack would not take of a message's blocks, and how
// many characters they have.
func checkBlocks(blocks []Block, most int) (int, error) {
	c := &checker{ids: map[string]bool{}}
	if len(blocks) > most {
		c.failf("%d blocks, over %d", len(blocks), most)
	}
	for _, b := range blocks {
		c.block(b)
	}
	return c.all, c.err
}

func (c *checker) block(b Block) {
	c.max(b, "block_id", maxID)
	if id := b.String("block_id"); id != "" {
		if c.ids[id] {
			c.failf("block_id %s stands twice", id)
		}
		c.ids[id] = true
	}
	switch b.String("type") {
	case "header":
		c.text(b["text"], maxHeader, true)
	case "divider":
	case "section":
		c.text(b["text"], maxText, false)
		if a, ok := b["accessory"].(map[string]any); ok {
			c.element(a)
		}
	case "context":
		elements := list(b["elements"])
		if len(elements) == 0 || len(elements) > maxContext {
			c.failf("%d elements in a context", len(elements))
		}
		for _, e := range elements {
			c.text(map[string]any(e), maxText, false)
		}
	case "actions":
		elements := list(b["elements"])
		if len(elements) == 0 || len(elements) > maxActions {
			c.failf("%d elements in a row of actions", len(elements))
		}
		for _, e := range elements {
			c.element(e)
		}
	case "rich_text":
		if len(list(b["elements"])) == 0 {
			c.failf("a rich_text without elements")
		}
		for _, e := range list(b["elements"]) {
			c.rich(e)
		}
	case "input":
		c.text(b["label"], maxLabel, true)
		e, ok := b["element"].(map[string]any)
		if !ok {
			c.failf("an input without an element")
		}
		c.element(e)
	default:
		c.failf("%q is no kind of block", b.String("type"))
	}
}

func (c *checker) element(b Block) {
	c.max(b, "action_id", maxID)
	switch b.String("type") {
	case "button":
		c.text(b["text"], maxButton, true)
		c.max(b, "value", maxValue)
		c.max(b, "url", maxURL)
		if style, ok := b["style"]; ok && style != "primary" && style != "danger" {
			c.failf("%v is no style", style)
		}
		if confirm, ok := b["confirm"].(map[string]any); ok {
			c.text(confirm["title"], maxConfirmTitle, true)
			c.text(confirm["text"], maxConfirm, false)
			c.text(confirm["confirm"], maxConfirmWord, true)
			c.text(confirm["deny"], maxConfirmWord, true)
		}
	case "plain_text_input":
		if n, ok := b["max_length"].(float64); ok && (n < 1 || n > maxText) {
			c.failf("max_length %v", n)
		}
	default:
		c.failf("%q is no kind of element", b.String("type"))
	}
}

// rich checks an element of a rich text. That a text in it is bound by the
// 3,000 characters of other texts is written nowhere, and taken here for true.
func (c *checker) rich(b Block) {
	switch kind := b.String("type"); kind {
	case "rich_text_section", "rich_text_quote", "rich_text_preformatted", "rich_text_list":
		for _, e := range list(b["elements"]) {
			c.rich(e)
		}
	case "text":
		if b.String("text") == "" {
			c.failf("a text in a rich_text is empty")
		}
		c.max(b, "text", maxText)
		c.all += length(b.String("text"))
	case "date":
		if _, ok := b["timestamp"].(float64); !ok || b.String("format") == "" {
			c.failf("a date without its time or its format")
		}
		c.all += length(b.String("fallback"))
	case "emoji":
		c.all += length(b.String("name")) + 2
	case "link":
		c.max(b, "url", maxURL)
		c.all += length(b.String("text"))
	default:
		c.failf("%q is no kind of element of a rich text", kind)
	}
}

// checkModal says what Slack would not take of a modal.
func checkModal(v Block) error {
	c := &checker{ids: map[string]bool{}}
	if v.String("type") != "modal" {
		c.failf("%q is no kind of view", v.String("type"))
	}
	c.text(v["title"], maxModalWord, true)
	for _, key := range []string{"submit", "close"} {
		if word, ok := v[key]; ok {
			c.text(word, maxModalWord, true)
		}
	}
	c.max(v, "private_metadata", maxMetadata)
	c.max(v, "callback_id", maxID)
	blocks := list(v["blocks"])
	if len(blocks) == 0 || len(blocks) > maxModalBlocks {
		c.failf("%d blocks in a modal", len(blocks))
	}
	for _, b := range blocks {
		c.block(b)
	}
	return c.err
}

// Render is what a person reads of a message: the texts of its blocks in
// order, a line for each block, and its buttons in brackets.
func (m Message) Render() string {
	text := ""
	for _, b := range m.Blocks {
		text += render(b) + "\n"
	}
	if len(m.Blocks) == 0 {
		text = m.Text + "\n"
	}
	return text
}

func render(b Block) string {
	out := ""
	switch b.String("type") {
	case "divider":
		return "---"
	case "section", "header":
		text, _ := b["text"].(map[string]any)
		return Block(text).String("text")
	case "context":
		for _, e := range list(b["elements"]) {
			out += e.String("text") + " "
		}
	case "actions":
		for _, e := range list(b["elements"]) {
			text, _ := e["text"].(map[string]any)
			out += "[" + Block(text).String("text") + "] "
		}
	case "rich_text", "rich_text_section", "rich_text_quote":
		for i, e := range list(b["elements"]) {
			if i > 0 && b.String("type") == "rich_text" {
				out += "\n"
			}
			out += render(e)
		}
	case "rich_text_preformatted":
		out = "```\n"
		for _, e := range list(b["elements"]) {
			out += render(e)
		}
		out += "\n```"
	case "rich_text_list":
		for _, e := range list(b["elements"]) {
			out += "  • " + render(e) + "\n"
		}
	case "text":
		return b.String("text")
	case "link":
		return b.String("text") + " <" + b.String("url") + ">"
	case "date":
		return b.String("fallback")
	case "emoji":
		return ":" + b.String("name") + ":"
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return err.Error()
		}
		return string(text)
	}
	return out
}
