//go:build race

package approvals

// underRace says that the race detector is on, under which a long walk takes
// ten times as long and shows no more races than a short one.
const underRace = true
