package account

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
)

// Parameters of argon2id: OWASP's minimum (19 MiB, 2 passes, 1 lane). maxHashing bounds the memory that logins can
// take to 38 MiB: without it logins themselves would be the way to bring a small gateway down.
const (
	argonMemoryKiB = 19 * 1024
	argonPasses    = 2
	argonLanes     = 1
	argonSaltBytes = 16
	argonHashBytes = 32
	maxHashing     = 2
)

const (
	minPasswordLen   = 12   // characters
	maxPasswordBytes = 1024 // so that nobody makes us hash megabytes
)

// checkPassword refuses passwords that are short or easy to guess. The error says what to do.
func (a *Accounts) checkPassword(user, password string) error {
	refuse := func(why string) error { return &Error{Invalid, "password " + why} }
	switch {
	case len(password) > maxPasswordBytes:
		return refuse(fmt.Sprintf("has more than %d bytes; take a shorter one", maxPasswordBytes))
	case !utf8.ValidString(password):
		return refuse("is not valid UTF-8")
	case utf8.RuneCountInString(password) < minPasswordLen:
		return refuse(fmt.Sprintf("needs %d characters or more; four words that do not belong together are a good one", minPasswordLen))
	}
	distinct := map[rune]bool{}
	for _, r := range password {
		distinct[r] = true
	}
	if len(distinct) < 5 {
		return refuse("repeats a few characters only; take one that is harder to guess")
	}
	if a.common.isCommon(strings.ToLower(user), strings.ToLower(password)) {
		return refuse("is made of words that are tried first (like password, admin, keyboard rows or the user's name); take one that is harder to guess")
	}
	return nil
}

// wordlist holds the words that guessing starts with, in lower case.
type wordlist map[string]bool

// isCommon says whether password, without its digits and signs, is nothing but up to three words of the list, the
// user's name, or letters in the order of the alphabet or a keyboard row. Both arguments are in lower case.
func (w wordlist) isCommon(user, password string) bool {
	// "P@ssw0rd!2026": the digits and signs at the ends are no letters in disguise, those inside may be.
	inner := strings.TrimFunc(password, func(r rune) bool { return !unicode.IsLetter(r) })
	for _, plain := range []string{onlyLetters(password), onlyLetters(unleet.Replace(inner))} {
		if len(plain) < 4 || w.isSentence(user, plain) {
			return true
		}
	}
	return false
}

func onlyLetters(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) {
			return r
		}
		return -1
	}, s)
}

// isSentence says whether s can be cut into at most three guessable words.
func (w wordlist) isSentence(user, s string) bool {
	const never = 4
	fewest := make([]int, len(s)+1) // fewest[i]: how many words make s[:i]
	for i := 1; i <= len(s); i++ {
		fewest[i] = never
		for j := max(0, i-longestWord); j < i; j++ {
			if fewest[j]+1 < fewest[i] && w.isGuessable(user, s[j:i]) {
				fewest[i] = fewest[j] + 1
			}
		}
	}
	return fewest[len(s)] < never
}

func (w wordlist) isGuessable(user, word string) bool {
	if word == user && len(user) >= 3 || w[word] {
		return true
	}
	if len(word) < 4 {
		return false
	}
	for _, row := range keyboardRows {
		if strings.Contains(row, word) {
			return true
		}
	}
	return false
}

// hashPassword returns the PHC string of password: $argon2id$v=19$m=..,t=..,p=..$salt$hash. It waits for a free
// place among maxHashing.
func (a *Accounts) hashPassword(ctx context.Context, password string) (string, error) {
	salt, err := a.randomBytes(argonSaltBytes)
	if err != nil {
		return "", err
	}
	if err := a.acquireHashing(ctx); err != nil {
		return "", err
	}
	defer a.releaseHashing()
	hash := a.argon(password, phc{argonMemoryKiB, argonPasses, argonLanes, salt, make([]byte, argonHashBytes)})
	enc := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemoryKiB, argonPasses, argonLanes,
		enc.EncodeToString(salt), enc.EncodeToString(hash)), nil
}

// verifyPassword says whether password has the hash. A hash that cannot be read is an error.
func (a *Accounts) verifyPassword(ctx context.Context, phc, password string) (bool, error) {
	p, err := parsePHC(phc)
	if err != nil {
		return false, err
	}
	if err := a.acquireHashing(ctx); err != nil {
		return false, err
	}
	defer a.releaseHashing()
	return subtle.ConstantTimeCompare(a.argon(password, p), p.hash) == 1, nil
}

// argon computes the hash of password with the salt, the cost and the length of p, and counts it.
func (a *Accounts) argon(password string, p phc) []byte {
	a.hashes.Inc()
	return argon2.IDKey([]byte(password), p.salt, p.passes, p.memoryKiB, p.lanes, uint32(len(p.hash)))
}

func (a *Accounts) acquireHashing(ctx context.Context) error {
	select {
	case a.hashing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return &Error{Busy, "too many people sign in at this moment; try again in a few seconds"}
	}
}

func (a *Accounts) releaseHashing() { <-a.hashing }

type phc struct {
	memoryKiB, passes uint32
	lanes             uint8
	salt, hash        []byte
}

// parsePHC reads a PHC string of argon2id. Parameters beyond 256 MiB, 16 passes or 16 lanes are refused: the string
// may come from a file, and must not take the gateway's memory.
func parsePHC(text string) (phc, error) {
	bad := func(what string) (phc, error) {
		return phc{}, fmt.Errorf("password hash: %s; want $argon2id$v=19$m=..,t=..,p=..$salt$hash", what)
	}
	parts := strings.Split(text, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" {
		return bad("not an argon2id hash")
	}
	if parts[2] != "v="+strconv.Itoa(argon2.Version) {
		return bad("unknown version " + strconv.Quote(parts[2]))
	}
	var p phc
	settings := strings.Split(parts[3], ",")
	if len(settings) != 3 {
		return bad("wrong number of parameters")
	}
	for i, want := range []struct {
		name string
		most uint64
	}{{"m=", 256 * 1024}, {"t=", 16}, {"p=", 16}} {
		digits, ok := strings.CutPrefix(settings[i], want.name)
		n, err := strconv.ParseUint(digits, 10, 32)
		if !ok || err != nil || n == 0 || n > want.most {
			return bad("parameter " + strconv.Quote(settings[i]) + " is out of range")
		}
		switch i {
		case 0:
			p.memoryKiB = uint32(n)
		case 1:
			p.passes = uint32(n)
		case 2:
			p.lanes = uint8(n)
		}
	}
	var err error
	if p.salt, err = base64.RawStdEncoding.DecodeString(parts[4]); err != nil || len(p.salt) < 8 || len(p.salt) > 64 {
		return bad("salt is not 8 to 64 bytes of base64")
	}
	if p.hash, err = base64.RawStdEncoding.DecodeString(parts[5]); err != nil || len(p.hash) < 16 || len(p.hash) > 64 {
		return bad("hash is not 16 to 64 bytes of base64")
	}
	return p, nil
}
