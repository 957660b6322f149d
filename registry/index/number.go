package index

import (
	"math"
	"strconv"
	"strings"
)

// Fold returns a text as the index compares it: case does not matter.
func Fold(text string) string { return strings.ToLower(text) }

// ParseNumber reads a decimal number such as 75, -1.5 or 2e3. Texts that only Go takes for numbers (0x10, 1_000, inf)
// are none, nor are numbers beyond a float64.
func ParseNumber(text string) (float64, bool) { return parseNumber(text) }

func parseNumber[T string | []byte](text T) (float64, bool) {
	digits := false
	for i := range len(text) {
		switch c := text[i]; {
		case '0' <= c && c <= '9':
			digits = true
		case c == '.' || c == '+' || c == '-':
		case (c == 'e' || c == 'E') && digits:
		default:
			return 0, false
		}
	}
	if !digits {
		return 0, false
	}
	num, err := strconv.ParseFloat(string(text), 64)
	if err != nil || math.IsInf(num, 0) {
		return 0, false
	}
	return num + 0, true // no -0
}
