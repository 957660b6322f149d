package policy

import (
	"encoding/json"
	"net"
	"strconv"
	"strings"
	"time"
)

// The oracle says what documents allow, written as AWS's pages on policies and on IAM's conditions read, with no thought
// of speed. It shares no code with the package: its own JSON reading, its own matching (recursive, over characters), its
// own conditions over texts.

type oracleElement struct {
	char rune
	wild rune // '*', '?' or 0
}

// oracleContext holds the values of all keys of a request, each a list of texts. A key that is not there is missing.
type oracleContext map[string][]string

// oracleRead returns the statements of documents, as encoding/json gives them.
func oracleRead(documents ...string) (statements []map[string]any) {
	for _, document := range documents {
		var doc struct{ Statement any }
		if err := json.Unmarshal([]byte(document), &doc); err != nil {
			return nil
		}
		for _, s := range oracleList(doc.Statement) {
			statements = append(statements, s.(map[string]any))
		}
	}
	return statements
}

func oracleAllows(statements []map[string]any, ctx oracleContext, action, class, name string) bool {
	if class == "topicfilter" && len(name) >= 7 && strings.ToLower(name[:7]) == "$share/" {
		parts := strings.SplitN(name, "/", 3)
		if len(parts) < 3 || parts[1] == "" || strings.Contains(parts[1], "+") || strings.Contains(parts[1], "#") || parts[2] == "" {
			return false
		}
		name = parts[2]
	}
	allow := false
	for _, s := range statements {
		isDeny := s["Effect"] == "Deny"
		if !oracleSpeaks(s, ctx, isDeny, action, class, name) {
			continue
		}
		if isDeny {
			return false
		}
		allow = true
	}
	return allow
}

// oracleSpeaks says whether a statement's action, resource and conditions all fit.
func oracleSpeaks(s map[string]any, ctx oracleContext, isDeny bool, action, class, name string) bool {
	acts, covers := false, false
	for _, a := range oracleList(s["Action"]) {
		acts = acts || oracleMatch(oracleElements(a.(string), nil, false, true), []rune(action))
	}
	if !acts {
		return false
	}
	for _, res := range oracleList(s["Resource"]) {
		covers = covers || oracleResource(res.(string), ctx, isDeny, class, name)
	}
	if !covers {
		return false
	}
	conditions, _ := s["Condition"].(map[string]any)
	for operator, keys := range conditions {
		for key, values := range keys.(map[string]any) {
			var texts []string
			for _, v := range oracleList(values) {
				switch v := v.(type) {
				case bool:
					texts = append(texts, strconv.FormatBool(v))
				case float64:
					texts = append(texts, strconv.FormatFloat(v, 'g', -1, 64))
				default:
					texts = append(texts, v.(string))
				}
			}
			if !oracleCondition(operator, ctx, key, texts, isDeny) {
				return false
			}
		}
	}
	return true
}

func oracleCondition(operator string, ctx oracleContext, key string, wants []string, isDeny bool) bool {
	have, there := ctx[key]
	if operator == "Null" {
		return there == (wants[0] == "false")
	}
	isText := strings.Contains(operator, "String")
	if isText && !isDeny {
		for _, want := range wants {
			if oracleElements(want, ctx, false, true) == nil {
				return false // a value that cannot be put in
			}
		}
	}
	quantifier := ""
	if before, after, ok := strings.Cut(operator, ":"); ok {
		quantifier, operator = before, after
	}
	positive := strings.TrimSuffix(operator, "IfExists")
	ifExists := positive != operator
	negated := strings.Contains(positive, "Not")
	positive = strings.Replace(positive, "Not", "", 1)
	if !there {
		if ifExists || quantifier == "ForAllValues" {
			return true
		}
		return negated && quantifier == ""
	}
	one := func(value string) bool {
		hit := false
		for _, want := range wants {
			hit = hit || oracleCompare(positive, value, want, ctx, isDeny)
		}
		return hit != negated
	}
	switch quantifier {
	case "ForAnyValue":
		for _, value := range have {
			if one(value) {
				return true
			}
		}
		return false
	case "ForAllValues":
		for _, value := range have {
			if !one(value) {
				return false
			}
		}
		return true
	}
	return one(have[0])
}

func oracleCompare(operator, value, want string, ctx oracleContext, isDeny bool) bool {
	switch operator {
	case "StringEquals", "StringEqualsIgnoreCase", "StringLike":
		elements := oracleElements(want, ctx, isDeny, operator == "StringLike")
		if elements == nil {
			return false
		}
		if operator == "StringEqualsIgnoreCase" {
			text := ""
			for _, e := range elements {
				text += string(e.char)
			}
			return strings.EqualFold(text, value)
		}
		return oracleMatch(elements, []rune(value))
	case "Bool":
		return value == want
	case "IpAddress":
		ip := net.ParseIP(value)
		if !strings.Contains(want, "/") {
			return ip != nil && ip.Equal(net.ParseIP(want))
		}
		_, network, err := net.ParseCIDR(want)
		return ip != nil && err == nil && network.Contains(ip)
	}
	a, okA := oracleNumber(operator, value)
	b, okB := oracleNumber(operator, want)
	if !okA || !okB {
		return false
	}
	switch strings.TrimPrefix(strings.TrimPrefix(operator, "Numeric"), "Date") {
	case "Equals":
		return a == b
	case "LessThan":
		return a < b
	case "LessThanEquals":
		return a <= b
	case "GreaterThan":
		return a > b
	case "GreaterThanEquals":
		return a >= b
	}
	panic("operator " + operator)
}

func oracleNumber(operator, text string) (float64, bool) {
	if strings.HasPrefix(operator, "Date") {
		if at, err := time.Parse(time.RFC3339, text); err == nil {
			return float64(at.Unix()), true
		}
	}
	n, err := strconv.ParseFloat(text, 64)
	return n, err == nil
}

func oracleList(v any) []any {
	if list, ok := v.([]any); ok {
		return list
	}
	return []any{v}
}

func oracleResource(resource string, ctx oracleContext, isDeny bool, class, name string) bool {
	if resource == "*" {
		return true
	}
	rest := strings.SplitN(resource, ":", 6)[5]
	if rest == "*" {
		return true
	}
	if !strings.HasPrefix(rest, class+"/") {
		return false
	}
	elements := oracleElements(rest[len(class)+1:], ctx, isDeny, true)
	return elements != nil && oracleMatch(elements, []rune(name))
}

// oracleElements returns nil when a variable has no usable value.
func oracleElements(pattern string, ctx oracleContext, isDeny, wild bool) []oracleElement {
	elements := []oracleElement{}
	literal := func(s string) {
		for _, c := range s {
			elements = append(elements, oracleElement{char: c})
		}
	}
	for i := 0; i < len(pattern); {
		if strings.HasPrefix(pattern[i:], "${") {
			end := strings.Index(pattern[i:], "}") + i
			key := pattern[i+2 : end]
			i = end + 1
			if key == "*" || key == "?" || key == "$" {
				literal(key)
				continue
			}
			values := ctx[key]
			if len(values) == 0 || values[0] == "" {
				return nil
			}
			bad := "*?+#$\x00"
			if key == "iot:ClientId" || strings.HasSuffix(key, ".ThingName") || strings.HasSuffix(key, ".ThingTypeName") {
				bad += "/"
			}
			if !isDeny && strings.ContainsAny(values[0], bad) {
				return nil
			}
			literal(values[0])
			continue
		}
		c := []rune(pattern[i:])[0]
		if wild && (c == '*' || c == '?') {
			elements = append(elements, oracleElement{wild: c})
		} else {
			elements = append(elements, oracleElement{char: c})
		}
		i += len(string(c))
	}
	return elements
}

func oracleMatch(pattern []oracleElement, name []rune) bool {
	if len(pattern) == 0 {
		return len(name) == 0
	}
	switch p := pattern[0]; {
	case p.wild == '*':
		return oracleMatch(pattern[1:], name) || len(name) > 0 && oracleMatch(pattern, name[1:])
	case len(name) == 0:
		return false
	case p.wild == '?' || p.char == name[0]:
		return oracleMatch(pattern[1:], name[1:])
	}
	return false
}
