package policy

import (
	"slices"

	"querywarden/policy/mask"
)

// Conversations says what is kept of what people say to agents and agents say
// to them, by their clients' word. The zero value keeps nothing.
type Conversations uint8

// What is kept.
const (
	ConversationsOff    Conversations = iota // nothing is taken
	ConversationsDigest                      // who, when, which model, and a salted digest of each text
	ConversationsMasked                      // the texts as well, without what detectors find in them
	ConversationsFull                        // the texts as they are
	numConversations
)

var conversationWords = [numConversations]string{"off", "digest", "masked", "full"}

// String is its word in policy files.
func (c Conversations) String() string {
	if c >= numConversations {
		return "off"
	}
	return conversationWords[c]
}

// Conversations says what the policy keeps.
func (p *Policy) Conversations() Conversations {
	if p == nil || p.conversations >= numConversations {
		return ConversationsOff
	}
	return p.conversations
}

// ConversationDetectors are what is looked for in texts before they are kept:
// the policy's own detectors, and in any case those of what never belongs there.
func (p *Policy) ConversationDetectors() []string {
	names := []string{mask.CardNumber.String(), mask.SSN.String(), mask.IBAN.String(), mask.APIKey.String()}
	if p != nil {
		names = append(names, p.detectors...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
