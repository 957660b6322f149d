package account

import (
	_ "embed"
	"strings"
)

//go:embed common.txt
var commonText string

// longestWord is at least the length in bytes of the longest word of the list and of a user name worth looking for.
const longestWord = 32

// newWordlist returns the list of common.txt. A word of it may be short: it counts only when the whole password
// is made of such words.
func newWordlist() wordlist {
	words := wordlist{}
	for word := range strings.FieldsSeq(commonText) {
		words[word] = true
	}
	return words
}

// keyboardRows hold runs of letters that hands type without thinking, in both directions.
var keyboardRows = []string{
	"abcdefghijklmnopqrstuvwxyz", "zyxwvutsrqponmlkjihgfedcba",
	"qwertyuiop", "poiuytrewq", "asdfghjkl", "lkjhgfdsa", "zxcvbnm", "mnbvcxz",
	"qwertzuiop", "azertyuiop", "yxcvbnm",
}

// unleet undoes the usual disguises of letters.
var unleet = strings.NewReplacer("0", "o", "1", "i", "3", "e", "4", "a", "5", "s", "7", "t", "@", "a", "$", "s", "!", "i")
