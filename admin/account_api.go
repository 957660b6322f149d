package admin

import (
	"context"
	"time"

	"muster/registry/account"
)

type me struct {
	Username string       `json:"username"`
	Role     account.Role `json:"role"`
}

// setupState says whether this gateway still needs its first user.
type setupState struct {
	Needed bool `json:"needed"`
}

func getSetup(ctx context.Context, s *Server, _ *call) (*setupState, error) {
	needed, err := s.accounts.NeedsSetup(ctx)
	return &setupState{needed}, err
}

type setupInput struct {
	Code     string `json:"code"`
	Username string `json:"username"`
	Password string `json:"password"`
}

func postSetup(ctx context.Context, s *Server, c *call, in setupInput) (*me, error) {
	c.target = in.Username
	secret, who, err := s.accounts.Setup(ctx, in.Code, in.Username, in.Password, c.remote)
	if err != nil {
		return nil, err
	}
	s.removeSetupFile()
	return signIn(c, secret, who)
}

type loginInput struct {
	Username string `json:"username"`
	Password string `json:"password"`
	Code     string `json:"code"` // one-time login, instead of the two
}

func postLogin(ctx context.Context, s *Server, c *call, in loginInput) (*me, error) {
	c.target = in.Username
	if in.Code != "" {
		if in.Username != "" || in.Password != "" {
			return nil, invalid("sign in with a code, or with username and password, not both")
		}
		secret, who, err := s.accounts.LoginWithCode(ctx, in.Code, c.remote)
		if err != nil {
			return nil, err
		}
		return signIn(c, secret, who)
	}
	secret, who, err := s.accounts.Login(ctx, in.Username, in.Password, c.remote)
	if err != nil {
		return nil, err
	}
	return signIn(c, secret, who)
}

// signIn sets the cookie of a new session. The session that the browser had before stays as it is: it may be of
// another tab's user, and ends by itself.
func signIn(c *call, secret string, who account.Principal) (*me, error) {
	c.who = who
	setSession(c, secret)
	return &me{who.Name, who.Role}, nil
}

func postLogout(ctx context.Context, s *Server, c *call) (*noContent, error) {
	clearSession(c)
	if cookie := c.http.Request.Header.Cookie(cookieName); len(cookie) > 0 {
		return nil, s.accounts.Logout(ctx, string(cookie))
	}
	return nil, nil
}

func getMe(_ context.Context, _ *Server, c *call) (*me, error) {
	return &me{c.who.Name, c.who.Role}, nil
}

type userOutput struct {
	Username    string       `json:"username"`
	Role        account.Role `json:"role"`
	HasPassword bool         `json:"hasPassword"`
	Disabled    bool         `json:"disabled"`
	CreatedMs   int64        `json:"createdMs"`
	ChangedMs   int64        `json:"changedMs"`
}

type userList struct {
	Users []userOutput `json:"users"`
}

func listUsers(ctx context.Context, s *Server, _ *call) (*userList, error) {
	users, err := s.accounts.ListUsers(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]userOutput, 0, len(users))
	for _, u := range users {
		out = append(out, userOutput{u.Name, u.Role, u.PasswordHash != "", u.DisabledMs != 0, u.CreatedMs, u.ChangedMs})
	}
	return &userList{out}, nil
}

type userInput struct {
	Username string       `json:"username"`
	Password string       `json:"password"`
	Role     account.Role `json:"role"`
}

func createUser(ctx context.Context, s *Server, c *call, in userInput) (*me, error) {
	c.target = in.Username
	if err := s.accounts.CreateUser(ctx, in.Username, in.Password, in.Role); err != nil {
		return nil, err
	}
	return &me{in.Username, in.Role}, nil
}

type userChange struct {
	Password string       `json:"password"` // "": unchanged
	Role     account.Role `json:"role"`     // "": unchanged
	Disabled *bool        `json:"disabled"`
}

func changeUser(ctx context.Context, s *Server, c *call, in userChange) (*noContent, error) {
	return nil, s.accounts.ChangeUser(ctx, c.labels[0], account.UserChange{Password: in.Password, Role: in.Role, Disabled: in.Disabled})
}

type passwordInput struct {
	Present  string `json:"presentPassword"` // "": the user has none yet
	Password string `json:"password"`
}

// putPassword changes the caller's own password. Every session of theirs ends, and this browser gets a new one.
func putPassword(ctx context.Context, s *Server, c *call, in passwordInput) (*me, error) {
	c.target = c.who.Name
	if c.who.Via != "session" {
		return nil, invalid("a token has no password: sign in as the user whose password it is")
	}
	secret, who, err := s.accounts.ChangePassword(ctx, c.who.Name, in.Present, in.Password, c.remote)
	if err != nil {
		return nil, err
	}
	return signIn(c, secret, who)
}

func deleteUser(ctx context.Context, s *Server, c *call) (*noContent, error) {
	return nil, s.accounts.DeleteUser(ctx, c.labels[0])
}

type tokenOutput struct {
	ID         string       `json:"id"`
	Name       string       `json:"name"`
	Role       account.Role `json:"role"`
	CreatedBy  string       `json:"createdBy"`
	CreatedMs  int64        `json:"createdMs"`
	ExpiresMs  int64        `json:"expiresMs"`
	LastUsedMs int64        `json:"lastUsedMs"`
	Token      string       `json:"token,omitempty"` // only in the answer to its creation
}

func tokenOut(t account.Token, secret string) tokenOutput {
	return tokenOutput{t.ID, t.Name, t.Role, t.CreatedBy, t.CreatedMs, t.ExpiresMs, t.UsedMs, secret}
}

type tokenList struct {
	Tokens []tokenOutput `json:"tokens"`
}

func listTokens(ctx context.Context, s *Server, _ *call) (*tokenList, error) {
	tokens, err := s.accounts.ListTokens(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]tokenOutput, 0, len(tokens))
	for _, t := range tokens {
		out = append(out, tokenOut(t, ""))
	}
	return &tokenList{out}, nil
}

type tokenInput struct {
	Name        string       `json:"name"`
	Role        account.Role `json:"role"`
	LifeSeconds int64        `json:"lifeSeconds"` // 0: never expires
}

// maxLifeSeconds keeps lifeSeconds inside a time.Duration; the accounts have a tighter rule.
const maxLifeSeconds = int64(100 * 366 * 24 * time.Hour / time.Second)

func createToken(ctx context.Context, s *Server, c *call, in tokenInput) (*tokenOutput, error) {
	c.target = in.Name
	if in.LifeSeconds < 0 || in.LifeSeconds > maxLifeSeconds {
		return nil, invalid("lifeSeconds must be 0 (never expires) or a number of seconds up to ten years")
	}
	secret, t, err := s.accounts.NewToken(ctx, in.Name, in.Role, time.Duration(in.LifeSeconds)*time.Second, c.who.Name)
	if err != nil {
		return nil, err
	}
	out := tokenOut(t, secret)
	return &out, nil
}

func deleteToken(ctx context.Context, s *Server, c *call) (*noContent, error) {
	return nil, s.accounts.DeleteToken(ctx, c.labels[0])
}

type keyOutput struct {
	ID         string       `json:"id"`
	Role       account.Role `json:"role"`
	CreatedBy  string       `json:"createdBy"`
	CreatedMs  int64        `json:"createdMs"`
	LastUsedMs int64        `json:"lastUsedMs"`
	Active     bool         `json:"active"`
	Secret     string       `json:"secret,omitempty"` // only in the answer to its creation
}

func keyOut(k account.AccessKey, secret string) keyOutput {
	return keyOutput{k.ID, k.Role, k.CreatedBy, k.CreatedMs, k.UsedMs, k.DisabledMs == 0, secret}
}

type keyList struct {
	Keys []keyOutput `json:"accessKeys"`
}

func listAccessKeys(ctx context.Context, s *Server, _ *call) (*keyList, error) {
	keys, err := s.accounts.ListAccessKeys(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]keyOutput, 0, len(keys))
	for _, k := range keys {
		out = append(out, keyOut(k, ""))
	}
	return &keyList{out}, nil
}

type keyInput struct {
	Role account.Role `json:"role"`
}

func createAccessKey(ctx context.Context, s *Server, c *call, in keyInput) (*keyOutput, error) {
	secret, k, err := s.accounts.NewAccessKey(ctx, in.Role, c.who.Name)
	if err != nil {
		return nil, err
	}
	c.target = k.ID
	out := keyOut(k, secret)
	return &out, nil
}

type keyChange struct {
	Active *bool `json:"active"`
}

func changeAccessKey(ctx context.Context, s *Server, c *call, in keyChange) (*noContent, error) {
	if in.Active == nil {
		return nil, invalid("active is missing: true or false")
	}
	return nil, s.accounts.DisableAccessKey(ctx, c.labels[0], !*in.Active)
}

func deleteAccessKey(ctx context.Context, s *Server, c *call) (*noContent, error) {
	return nil, s.accounts.DeleteAccessKey(ctx, c.labels[0])
}
