package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// condition is one key of one operator of a statement.
//
// A missing key makes it false, but true for a negated operator, for ForAllValues and with IfExists. In an Allow
// statement a variable among its values that cannot be substituted makes it false, whatever the operator: no value may
// widen what a policy allows.
type condition struct {
	key string
	operator
	set      set
	ifExists bool
	texts    []pattern      // of strings
	numbers  []float64      // of numbers, and of dates as Unix seconds
	nets     []netip.Prefix // of addresses
	want     bool           // of Bool and Null
}

// operator is what a condition compares with.
type operator struct {
	test    test
	negated bool
	order   order // of numbers and dates
}

type test uint8

const (
	textEqual test = iota
	textFold
	textLike
	boolean
	address
	number
	date
	null
)

// order is how the key's value may stand to the policy's.
type order uint8

const (
	less order = 1 << iota
	equal
	greater
)

// set says how the several values of a key are taken together.
type set uint8

const (
	single set = iota
	anyValue
	allValues
)

// operators are those without a prefix ForAnyValue: or ForAllValues: and without a suffix IfExists.
var operators = map[string]operator{
	"StringEquals": {test: textEqual}, "StringNotEquals": {test: textEqual, negated: true},
	"StringEqualsIgnoreCase": {test: textFold}, "StringNotEqualsIgnoreCase": {test: textFold, negated: true},
	"StringLike": {test: textLike}, "StringNotLike": {test: textLike, negated: true},
	"Bool": {test: boolean}, "Null": {test: null},
	"IpAddress": {test: address}, "NotIpAddress": {test: address, negated: true},
	"NumericEquals": {test: number, order: equal}, "NumericNotEquals": {test: number, order: equal, negated: true},
	"NumericLessThan": {test: number, order: less}, "NumericLessThanEquals": {test: number, order: less | equal},
	"NumericGreaterThan": {test: number, order: greater}, "NumericGreaterThanEquals": {test: number, order: greater | equal},
	"DateEquals": {test: date, order: equal}, "DateNotEquals": {test: date, order: equal, negated: true},
	"DateLessThan": {test: date, order: less}, "DateLessThanEquals": {test: date, order: less | equal},
	"DateGreaterThan": {test: date, order: greater}, "DateGreaterThanEquals": {test: date, order: greater | equal},
}

const maxConditionValues = 64

// addConditions reads {"<operator>": {"<key>": "<value>" or a list of them}}.
func (p *Policy) addConditions(s *statement, n node) error {
	if n.kind != object || len(n.members) == 0 {
		return errors.New("it must be an object of operators, not empty")
	}
	for _, op := range n.members {
		if op.kind != object || len(op.members) == 0 {
			return fmt.Errorf("%s: it must be an object of keys and values, not empty", op.name)
		}
		for _, m := range op.members {
			c, err := p.parseCondition(op.name, m.name, m.node)
			if err != nil {
				return fmt.Errorf("%s: %s: %w", op.name, m.name, err)
			}
			p.conditional = true
			p.certificate = p.certificate || strings.HasPrefix(c.key, keyCertificate)
			if isTime(c.key) && c.test != null {
				s.timed, p.timed = append(s.timed, c), true
			} else {
				s.conditions = append(s.conditions, c)
			}
		}
	}
	return nil
}

func (p *Policy) parseCondition(name, key string, values node) (condition, error) {
	c := condition{key: key}
	for prefix, s := range map[string]set{"ForAnyValue:": anyValue, "ForAllValues:": allValues} {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			name, c.set = rest, s
		}
	}
	base, ifExists := strings.CutSuffix(name, "IfExists")
	known, ok := operators[base]
	if !ok || ifExists && known.test == null {
		return c, errors.New("the operator is not known here; there are String, Numeric and Date with Equals, NotEquals, LessThan ..., StringLike, StringNotLike, Bool, IpAddress, NotIpAddress, Null, each with ForAnyValue:, ForAllValues: and IfExists")
	}
	c.operator, c.ifExists = known, ifExists
	if !isKey(key) {
		if near := nearKey(key); near != "" {
			return c, fmt.Errorf("the key is spelled %s", near)
		}
		return c, fmt.Errorf("the key is not known here; there are %s, %s, %s, %s<name>], %s<fact>", strings.Join(simpleKeys, ", "), keyTime, keyEpoch, keyAttribute, keyCertificate)
	}
	if isList(key) && c.set == single && c.test != null {
		return c, errors.New("it has several values: write ForAnyValue: or ForAllValues: before the operator")
	}
	list := []node{values}
	if values.kind == array {
		list = values.items
	}
	if len(list) == 0 || len(list) > maxConditionValues {
		return c, fmt.Errorf("it has %d values; 1 to %d are taken", len(list), maxConditionValues)
	}
	for _, item := range list {
		if item.kind != text && item.text == "" {
			return c, fmt.Errorf("it has %s as a value; it must be a string, a number or a boolean", item.kind)
		}
		if err := p.addValue(&c, item.text, len(list)); err != nil {
			return c, err
		}
	}
	return c, nil
}

// addValue reads one of count values of a condition.
func (p *Policy) addValue(c *condition, value string, count int) (err error) {
	switch c.test {
	case textEqual, textFold, textLike:
		compiled, err := p.parsePattern(value, c.test == textLike)
		if err != nil {
			return err
		}
		c.texts = append(c.texts, compiled)
	case boolean, null:
		if c.want, err = strconv.ParseBool(strings.ToLower(value)); err != nil || count != 1 || len(value) < 4 {
			return fmt.Errorf("%q is not a boolean; it must be \"true\" or \"false\", once", value)
		}
	case address:
		prefix, ok := parsePrefix(value)
		if !ok {
			return fmt.Errorf("%q is not a network; it must be like 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32", value)
		}
		c.nets = append(c.nets, prefix)
	case number:
		n, ok := parseNumber(value)
		if !ok {
			return fmt.Errorf("%q is not a number", value)
		}
		c.numbers = append(c.numbers, n)
	case date:
		at, ok := parseDate(value)
		if !ok {
			return fmt.Errorf("%q is not a time; it must be like 2026-01-31T12:00:00Z, 2026-01-31, or seconds since 1970", value)
		}
		c.numbers = append(c.numbers, at)
	}
	return nil
}

func parsePrefix(text string) (netip.Prefix, bool) {
	if prefix, err := netip.ParsePrefix(text); err == nil {
		return prefix.Masked(), true
	}
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" {
		return netip.Prefix{}, false
	}
	addr = addr.Unmap()
	return netip.PrefixFrom(addr, addr.BitLen()), true
}

func parseNumber(text string) (float64, bool) {
	n, err := strconv.ParseFloat(text, 64)
	return n, err == nil && n-n == 0 // neither infinite nor NaN
}

// parseDate reads a time as Unix seconds.
func parseDate(text string) (float64, bool) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04Z07:00", "2006-01-02T15:04:05", time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return float64(at.UnixNano()) / 1e9, true
		}
	}
	return parseNumber(text)
}

// holds evaluates the condition on the values of its key; substituted are those of the policy's variables.
func (c *condition) holds(have []string, substituted []value, deny bool) bool {
	if c.test == null {
		return (len(have) == 0) == c.want
	}
	if !deny && slices.ContainsFunc(c.texts, func(p pattern) bool { return !p.complete(substituted) }) {
		return false
	}
	if len(have) == 0 {
		return c.ifExists || c.set == allValues || c.set == single && c.negated
	}
	one := func(text string) bool { return c.matches(text, substituted, deny) != c.negated }
	switch c.set {
	case anyValue:
		return slices.ContainsFunc(have, one)
	case allValues:
		return !slices.ContainsFunc(have, func(text string) bool { return !one(text) })
	}
	return one(have[0])
}

// matches says whether a value of the key is like one of the policy's.
func (c *condition) matches(have string, substituted []value, deny bool) bool {
	switch c.test {
	case textEqual, textLike:
		return slices.ContainsFunc(c.texts, func(p pattern) bool { return p.match(have, substituted, deny) })
	case textFold:
		return slices.ContainsFunc(c.texts, func(p pattern) bool {
			text, ok := p.text(substituted, deny)
			return ok && strings.EqualFold(text, have)
		})
	case boolean:
		return strings.EqualFold(have, strconv.FormatBool(c.want))
	case address:
		addr, err := netip.ParseAddr(have)
		return err == nil && slices.ContainsFunc(c.nets, func(n netip.Prefix) bool { return n.Contains(addr.Unmap().WithZone("")) })
	}
	parse := parseNumber
	if c.test == date {
		parse = parseDate
	}
	n, ok := parse(have)
	return ok && slices.ContainsFunc(c.numbers, func(want float64) bool { return c.order&orderOf(n, want) != 0 })
}

func orderOf(a, b float64) order {
	switch {
	case a < b:
		return less
	case a > b:
		return greater
	}
	return equal
}
