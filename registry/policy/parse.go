package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Parse reads a policy document of at most DefaultMaxChars characters. Errors name the statement, counted from 1,
// the field and what is allowed.
//
// A document has Version "2012-10-17", may have an Id, and has one Statement or a list of them, each with Effect,
// Action, Resource, maybe a Sid, and maybe a Condition (condition.go). Operators, keys, variables and actions that are
// not known, NotAction and NotResource are refused: a rule that is not understood must not be half obeyed.
func Parse(document []byte) (*Policy, error) { return ParseLimit(document, DefaultMaxChars) }

// ParseLimit is Parse with another limit of characters, white space not counted.
func ParseLimit(document []byte, maxChars int) (*Policy, error) {
	if !utf8.Valid(document) {
		return nil, errors.New("policy: it is not UTF-8")
	}
	chars := 0
	for _, c := range string(document) {
		if !unicode.IsSpace(c) {
			chars++
		}
	}
	if chars > maxChars {
		return nil, fmt.Errorf("policy: at most %d characters (white space not counted) are allowed, it has %d", maxChars, chars)
	}
	root, err := readJSON(document)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	if root.kind != object {
		return nil, fmt.Errorf("policy: it is %s; it must be a JSON object with Version and Statement", root.kind)
	}
	version, list := "", []node(nil)
	for _, m := range root.members {
		switch m.name {
		case "Version":
			version = m.text
		case "Id":
			if m.kind != text {
				return nil, fmt.Errorf("policy: Id: it is %s; it must be a string", m.kind)
			}
		case "Statement":
			list = []node{m.node}
			if m.kind == array {
				list = m.items
			}
		default:
			return nil, fmt.Errorf("policy: field %q is not known; allowed are Version, Id, Statement", m.name)
		}
	}
	if version != "2012-10-17" {
		return nil, fmt.Errorf(`policy: Version: it is %q; it must be "2012-10-17"`, version)
	}
	if len(list) == 0 {
		return nil, errors.New("policy: Statement: there is none; it must be a statement or a list of them")
	}
	p := &Policy{}
	for i, n := range list {
		if err := p.addStatement(n); err != nil {
			return nil, fmt.Errorf("policy: statement %d: %w", i+1, err)
		}
	}
	return p, nil
}

func (p *Policy) addStatement(n node) error {
	if n.kind != object {
		return fmt.Errorf("it is %s; it must be an object with Effect, Action and Resource", n.kind)
	}
	var s statement
	seen := make(map[string]bool)
	for _, m := range n.members {
		seen[m.name] = true
		var err error
		switch m.name {
		case "Sid":
			if m.kind != text {
				err = fmt.Errorf("it is %s; it must be a string", m.kind)
			}
			s.sid = m.text
		case "Effect":
			if m.text != "Allow" && m.text != "Deny" {
				err = fmt.Errorf("it is %s; it must be \"Allow\" or \"Deny\"", m.node)
			}
			s.deny = m.text == "Deny"
		case "Action":
			err = eachText(m.node, s.addAction)
		case "Resource":
			err = eachText(m.node, func(resource string) error { return p.addResource(&s, resource) })
		case "Condition":
			err = p.addConditions(&s, m.node)
		case "NotAction", "NotResource":
			err = errors.New("this gateway does not evaluate it; write the statement with Action and Resource only")
		default:
			err = errors.New("it is not known; allowed are Sid, Effect, Action, Resource, Condition")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	for _, field := range []string{"Effect", "Action", "Resource"} {
		if !seen[field] {
			return fmt.Errorf("%s: it is missing", field)
		}
	}
	p.statements = append(p.statements, s)
	return nil
}

// eachText calls f with the text of n, or with each of its texts.
func eachText(n node, f func(string) error) error {
	items := n.items
	if n.kind == text {
		items = []node{n}
	} else if n.kind != array || len(items) == 0 {
		return fmt.Errorf("it is %s; it must be a string or a list of strings, not empty", n)
	}
	for _, item := range items {
		if item.kind != text {
			return fmt.Errorf("it has %s in its list; it must be a string or a list of strings", item)
		}
		if err := f(item.text); err != nil {
			return err
		}
	}
	return nil
}

// elsewhere are the actions of AWS IoT's device policies that are not asked for over MQTT's topics: a statement may name
// them, and grants nothing by it here.
var elsewhere = []string{
	"iot:GetThingShadow", "iot:UpdateThingShadow", "iot:DeleteThingShadow", "iot:ListNamedShadowsForThing",
	"iot:GetRetainedMessage", "iot:ListRetainedMessages", "iot:AssumeRoleWithCertificate", "iot:DeleteConnection",
	"iot:DescribeJobExecution", "iot:GetPendingJobExecutions", "iot:StartNextPendingJobExecution", "iot:UpdateJobExecution",
	"iotjobsdata:DescribeJobExecution", "iotjobsdata:GetPendingJobExecutions", "iotjobsdata:StartNextPendingJobExecution",
	"iotjobsdata:UpdateJobExecution", "iotjobsdata:StartCommandExecution", "greengrass:Discover",
}

// otherClasses are the kinds of resources of those actions.
var otherClasses = []string{"thing", "cert", "thinggroup", "job", "rolealias", "stream"}

func (s *statement) addAction(name string) error {
	var glob pattern
	for rest := name; rest != ""; {
		glob, rest = appendWild(glob, rest, "")
	}
	found := slices.ContainsFunc(elsewhere, func(known string) bool { return glob.match(known, nil, false) })
	for _, a := range actionNames {
		if glob.match(a.name, nil, false) {
			s.actions |= a.action
			found = true
		}
	}
	if !found {
		var known []string
		for _, a := range actionNames {
			known = append(known, a.name)
		}
		return fmt.Errorf("%q is not known; allowed are %s, iot:* and *", name, strings.Join(known, ", "))
	}
	return nil
}

// addResource adds a resource, arn:aws:iot:<region>:<account>:<class>/<name>. A gateway is one region and one
// account, so these two are checked for their form only.
func (p *Policy) addResource(s *statement, resource string) error {
	everything := pattern{{kind: anyRun}}
	if resource == "*" {
		s.addAll(everything)
		return nil
	}
	part := strings.SplitN(resource, ":", 6)
	if len(part) != 6 || part[0] != "arn" || part[2] != "iot" || !slices.Contains([]string{"aws", "aws-cn", "aws-us-gov", "*"}, part[1]) {
		return fmt.Errorf("%q is not an ARN of AWS IoT; it must be * or arn:aws:iot:<region>:<account>:<class>/<name>", resource)
	}
	if !isARNPart(part[3]) || !isARNPart(part[4]) {
		return fmt.Errorf("%q: region and account must be of a-z A-Z 0-9 - and the wildcards * ?", resource)
	}
	if part[5] == "*" {
		s.addAll(everything)
		return nil
	}
	className, name, _ := strings.Cut(part[5], "/")
	c := slices.Index(classNames[:], className)
	other := slices.Contains(otherClasses, className)
	if c < 0 && !other || len(className) == len(part[5]) {
		return fmt.Errorf("%q: after the account it must be client/<id>, topic/<topic>, topicfilter/<filter> or *", resource)
	}
	compiled, err := p.parsePattern(name, true)
	if err != nil {
		return fmt.Errorf("%q: %w", resource, err)
	}
	if !other {
		s.resources[c] = append(s.resources[c], compiled)
	}
	return nil
}

func (s *statement) addAll(everything pattern) {
	for c := range s.resources {
		s.resources[c] = append(s.resources[c], everything)
	}
}

func isARNPart(part string) bool {
	for i := 0; i < len(part); i++ {
		c := part[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-*?", c) >= 0) {
			return false
		}
	}
	return true
}

// parsePattern compiles the name of a resource, or a value of a condition: literals, variables ${...}, ${*} ${?} ${$}
// for the characters themselves and, where wild is set, the wildcards * and ?.
func (p *Policy) parsePattern(name string, wild bool) (pattern, error) {
	var out pattern
	for rest := name; rest != ""; {
		if !strings.HasPrefix(rest, "${") {
			if wild {
				out, rest = appendWild(out, rest, "${")
				continue
			}
			n := strings.Index(rest, "${")
			if n < 0 {
				n = len(rest)
			}
			out, rest = append(out, token{kind: literal, text: rest[:n]}), rest[n:]
			continue
		}
		inner, after, ok := strings.Cut(rest[2:], "}")
		if !ok {
			return nil, errors.New("a variable ${ has no closing }")
		}
		t, err := p.parseVariable(inner)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
		rest = after
	}
	return out, nil
}

// appendWild appends the tokens of rest up to the text stop, and returns what is left.
func appendWild(dst pattern, rest, stop string) (pattern, string) {
	end := len(rest)
	if stop != "" {
		if i := strings.Index(rest, stop); i >= 0 {
			end = i
		}
	}
	left := rest[end:]
	for rest = rest[:end]; rest != ""; {
		switch rest[0] {
		case '*':
			if len(dst) == 0 || dst[len(dst)-1].kind != anyRun {
				dst = append(dst, token{kind: anyRun})
			}
			rest = rest[1:]
		case '?':
			dst = append(dst, token{kind: anyOne})
			rest = rest[1:]
		default:
			n := strings.IndexAny(rest, "*?")
			if n < 0 {
				n = len(rest)
			}
			dst = append(dst, token{kind: literal, text: rest[:n]})
			rest = rest[n:]
		}
	}
	return dst, left
}

func (p *Policy) parseVariable(name string) (token, error) {
	switch name {
	case "*", "?", "$":
		return token{kind: literal, text: name}, nil
	}
	switch {
	case isKey(name) && (isList(name) || isTime(name)):
		return token{}, fmt.Errorf("${%s} can stand in a Condition only, as a key", name)
	case !isKey(name) && nearKey(name) != "":
		return token{}, fmt.Errorf("variable ${%s} is spelled ${%s}", name, nearKey(name))
	case !isKey(name):
		return token{}, fmt.Errorf("variable ${%s} is not known; allowed are ${%s}, ${%s<name>]}, ${%s<fact>} and ${*} ${?} ${$}",
			name, strings.Join(simpleKeys, "}, ${"), keyAttribute, keyCertificate)
	}
	p.certificate = p.certificate || strings.HasPrefix(name, keyCertificate)
	i := slices.Index(p.variables, name)
	if i < 0 {
		i = len(p.variables)
		p.variables = append(p.variables, strings.Clone(name))
	}
	return token{kind: variable, index: i}, nil
}
