package policy

import (
	"fmt"
	"strings"
)

// What reasons say. An agent reads them, so they name only what the statement
// named, and what they say of an object that the caller cannot see is word for
// word what they say of one that does not exist.

// ObjectUnknown is the reason for a name that fits nothing the caller can see.
func ObjectUnknown(o Object) Reason {
	return Reason{
		Code:     CodeObjectUnknown,
		Sentence: fmt.Sprintf("%s does not exist or is not open to you.", o),
		Next:     "Call list_tables to see what you can read, and use full names.",
	}
}

// Told returns the reason as the caller may hear it. A code that tells of an
// object that the caller cannot see becomes [CodeObjectUnknown]; the reason
// itself, which goes on record, keeps it.
func (r Reason) Told() Reason {
	if r.hidden {
		r.Code, r.hidden = CodeObjectUnknown, false
	}
	return r
}

// hiding makes a reason with this code that reads like [ObjectUnknown].
func hiding(code Code, o Object) Reason {
	r := ObjectUnknown(o)
	r.Code, r.hidden = code, true
	return r
}

// classPhrases complete "No rule lets you ….".
var classPhrases = [numClasses]string{
	Unknown:    "use %s",
	Read:       "read %s",
	Write:      "add rows to %s",
	Modify:     "change or remove rows of %s",
	Create:     "create or extend %s",
	Destroy:    "drop, truncate or replace %s",
	Admin:      "administer %s",
	Session:    "change your session for %s",
	Stage:      "move files for %s",
	Procedural: "run code in %s",
}

func phrase(c Class, o Object) string {
	if c >= numClasses {
		c = Unknown
	}
	name := o.String()
	if name == "" {
		name = "the account"
	}
	return fmt.Sprintf(classPhrases[c], name)
}

func reasonNoRule(c Class, o Object) Reason {
	return Reason{
		Code:     CodeNoRule,
		Sentence: "No rule lets you " + phrase(c, o) + ".",
		Next:     "Use what you may use, or ask the owner of the policy for a rule.",
	}
}

func reasonNoRuleForClass(c Class) Reason {
	return Reason{
		Code:     CodeNoRule,
		Sentence: fmt.Sprintf("No rule lets you run statements of class %s.", c),
		Next:     "Use what you may use, or ask the owner of the policy for a rule.",
	}
}

func reasonDenied(c Class, o Object) Reason {
	return Reason{
		Code:     CodeRuleDenies,
		Sentence: "A rule forbids you to " + phrase(c, o) + ".",
		Next:     "Do not try again in other words; ask the owner of the policy if you must.",
	}
}

func reasonDeniedClass(c Class) Reason {
	return Reason{
		Code:     CodeRuleDenies,
		Sentence: fmt.Sprintf("A rule forbids you to run statements of class %s.", c),
		Next:     "Do not try again in other words; ask the owner of the policy if you must.",
	}
}

func reasonFunction(name string) Reason {
	return Reason{
		Code:     CodeFunctionForbidden,
		Sentence: fmt.Sprintf("The function %s does more than compute, and no rule lets you call it.", name),
		Next:     "Leave the function out.",
	}
}

func reasonFunctionUnknown(name string) Reason {
	return Reason{
		Code:     CodeFunctionUnknown,
		Sentence: fmt.Sprintf("The function %s is not one of Snowflake's own, and no rule lets you call it.", name),
		Next:     "Use one of Snowflake's own functions.",
	}
}

func reasonFunctionDenied(name string) Reason {
	return Reason{
		Code:     CodeFunctionForbidden,
		Sentence: fmt.Sprintf("A rule forbids you to call the function %s.", name),
		Next:     "Leave the function out.",
	}
}

func reasonCopied(o Object) Reason {
	return Reason{
		Code:     CodeMaskUnresolved,
		Sentence: fmt.Sprintf("Rows of %s were made of rows that are hidden from you.", o),
		Next:     "Query the tables that it was made of.",
	}
}

func reasonOpaque(o Object) Reason {
	return Reason{
		Code:     CodeMaskUnresolved,
		Sentence: fmt.Sprintf("What %s shows comes from a view that hides its definition, so the gateway cannot tell what it is.", o),
		Next:     "Query the tables below the view, or ask the owner of the policy to vouch for the view.",
	}
}

func reasonConversation() Reason {
	return Reason{
		Code:     CodeConversation,
		Sentence: "A rule lets this run only with the conversation that led to it, and your client has told of none.",
		Next:     "Ask the person you work for to set up the client's hooks or telemetry; do not retry before.",
	}
}

func reasonNotUnderstood() Reason {
	return Reason{
		Code:     CodeNotUnderstood,
		Sentence: "The statement is of a kind that cannot be judged.",
		Next:     "Send one plain statement that reads or changes tables.",
	}
}

func reasonNoPolicy() Reason {
	return Reason{
		Code:     CodePolicyInvalid,
		Sentence: "The gateway has no usable policy, so nothing runs.",
		Next:     "Tell the gateway's operator.",
	}
}

func reasonConflict() Reason {
	return Reason{
		Code:     CodeApprovalConflict,
		Sentence: "Several rules ask for approval by groups that have nobody in common.",
		Next:     "Split the statement so that each part needs one approval.",
	}
}

func reasonAsk(a *Approval) Reason {
	who := "a person"
	if a.Quorum > 1 {
		who = fmt.Sprintf("%d people", a.Quorum)
	}
	return Reason{
		Code:     CodeApprovalNeeded,
		Sentence: fmt.Sprintf("This needs the approval of %s of %s.", who, strings.Join(a.Groups, " or ")),
		Next:     "Call request_approval with exactly this statement and a reason.",
	}
}

func reasonAllowed() Reason {
	return Reason{Code: CodeAllowed, Sentence: "A rule allows this."}
}
