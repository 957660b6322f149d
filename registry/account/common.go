package account

import (
	_ "embed"
	"strings"
	"sync"
)

//go:embed common.txt
var commonText string

// commonWords are the words that guessing starts with. A word of the list may be short: it counts only when the
// whole password is made of such words.
var commonWords = sync.OnceValue(func() map[string]bool {
	words := map[string]bool{}
	for word := range strings.FieldsSeq(commonText) {
		words[word] = true
	}
	return words
})

// keyboardRows hold runs of letters that hands type without thinking, in both directions.
var keyboardRows = []string{
	"abcdefghijklmnopqrstuvwxyz", "zyxwvutsrqponmlkjihgfedcba",
	"qwertyuiop", "poiuytrewq", "asdfghjkl", "lkjhgfdsa", "zxcvbnm", "mnbvcxz",
	"qwertzuiop", "azertyuiop", "yxcvbnm",
}

// unleet undoes the usual disguises of letters.
var unleet = strings.NewReplacer("0", "o", "1", "i", "3", "e", "4", "a", "5", "s", "7", "t", "@", "a", "$", "s", "!", "i")
