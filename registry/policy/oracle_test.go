package policy

import (
	"encoding/json"
	"strings"
)

// The oracle says what a document allows, written as AWS's page on policies reads and with no thought of speed. It
// shares no code with the package: its own JSON reading, its own matching (recursive, over characters).

type oracleElement struct {
	char rune
	wild rune // '*', '?' or 0
}

func oracleAllows(document string, vars Vars, action, class, name string) bool {
	var doc struct{ Statement any }
	if err := json.Unmarshal([]byte(document), &doc); err != nil {
		return false
	}
	if class == "topicfilter" && len(name) >= 7 && strings.ToLower(name[:7]) == "$share/" {
		parts := strings.SplitN(name, "/", 3)
		if len(parts) < 3 || parts[1] == "" || strings.Contains(parts[1], "+") || strings.Contains(parts[1], "#") || parts[2] == "" {
			return false
		}
		name = parts[2]
	}
	allow, deny := false, false
	for _, s := range oracleList(doc.Statement) {
		s := s.(map[string]any)
		isDeny := s["Effect"] == "Deny"
		if c, ok := s["Condition"]; ok {
			want := oracleList(c.(map[string]any)["Bool"].(map[string]any)["iot:Connection.Thing.IsAttached"])[0]
			if (want == "true" || want == true) != (vars.ThingName != "") {
				continue
			}
		}
		hit := false
		for _, a := range oracleList(s["Action"]) {
			if !oracleMatch(oracleElements(a.(string), Vars{}, false), []rune(action)) {
				continue
			}
			for _, res := range oracleList(s["Resource"]) {
				hit = hit || oracleResource(res.(string), vars, isDeny, class, name)
			}
		}
		allow = allow || hit && !isDeny
		deny = deny || hit && isDeny
	}
	return allow && !deny
}

func oracleList(v any) []any {
	if list, ok := v.([]any); ok {
		return list
	}
	return []any{v}
}

func oracleResource(resource string, vars Vars, isDeny bool, class, name string) bool {
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
	elements := oracleElements(rest[len(class)+1:], vars, isDeny)
	return elements != nil && oracleMatch(elements, []rune(name))
}

// oracleElements returns nil when a variable has no usable value.
func oracleElements(pattern string, vars Vars, isDeny bool) []oracleElement {
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
			value, bad := "", "*?+#$\x00"
			switch key {
			case "iot:ClientId":
				value, bad = vars.ClientID, bad+"/"
			case "iot:Connection.Thing.ThingName":
				value, bad = vars.ThingName, bad+"/"
			case "iot:Connection.Thing.ThingTypeName":
				value, bad = vars.ThingTypeName, bad+"/"
			default:
				value = vars.Attributes[strings.TrimSuffix(strings.TrimPrefix(key, "iot:Connection.Thing.Attributes["), "]")]
			}
			if value == "" || !isDeny && strings.ContainsAny(value, bad) {
				return nil
			}
			literal(value)
			continue
		}
		c := []rune(pattern[i:])[0]
		if c == '*' || c == '?' {
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
