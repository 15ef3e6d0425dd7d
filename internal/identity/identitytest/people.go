package identitytest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/zitadel/oidc/v3/pkg/op"
)

// A Person can sign in.
type Person struct {
	Name    string // what they click on
	Subject string // Name if empty
	Email   string // Name@example.com if empty
	Groups  []string
	// Claims are added to the person's tokens.
	Claims map[string]any
}

// A Client is a program that people sign in with.
type Client struct {
	ID     string
	Secret string // a public client without
	// Redirects are where answers may go. Of a public client's redirects to
	// loopback the port does not matter (RFC 8252).
	Redirects []string
	// Groups are the client's own, in tokens of the client credentials grant
	// and as an actor.
	Groups []string
}

// state is what a provider remembers.
type state struct {
	people   map[string]*Person
	clients  map[string]*Client
	as       string // who signs in unasked
	lifetime time.Duration
	requests map[string]*authRequest
	codes    map[string]string // to requests
	refresh  map[string]*refreshRequest
	devices  map[string]*op.DeviceAuthorizationState
	user     map[string]string // user codes to device codes
}

func newState() state {
	return state{
		people: map[string]*Person{}, clients: map[string]*Client{}, lifetime: 10 * time.Minute,
		requests: map[string]*authRequest{}, codes: map[string]string{}, refresh: map[string]*refreshRequest{},
		devices: map[string]*op.DeviceAuthorizationState{}, user: map[string]string{},
	}
}

// AddPerson adds a person, or replaces the one of that name.
func (p *Provider) AddPerson(who Person) {
	if who.Subject == "" {
		who.Subject = who.Name
	}
	if who.Email == "" {
		who.Email = who.Name + "@example.com"
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.people[who.Name] = &who
}

// SetGroups changes the groups of a person; tokens made from then on say so.
func (p *Provider) SetGroups(name string, groups ...string) {
	p.tb.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	who := p.people[name]
	if who == nil {
		p.tb.Fatalf("there is no person %q", name)
	}
	who.Groups = slices.Clone(groups)
}

// AddClient adds a client, or replaces the one with that ID.
func (p *Provider) AddClient(c Client) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clients[c.ID] = &c
}

// SignInAs makes a person sign in wherever somebody is asked to, without
// clicking; an empty name ends that.
func (p *Provider) SignInAs(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.as = name
}

// SetLifetime sets how long access tokens are good for; ten minutes at first.
func (p *Provider) SetLifetime(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lifetime = d
}

// PersonToken is an access token of a person, as a sign-in would make it.
func (p *Provider) PersonToken(name, audience string, claims map[string]any) string {
	p.tb.Helper()
	p.mu.Lock()
	who, lifetime := p.people[name], p.lifetime
	p.mu.Unlock()
	if who == nil {
		p.tb.Fatalf("there is no person %q", name)
	}
	all := personClaims(who)
	all["sub"], all["exp"], all["jti"] = who.Subject, time.Now().Add(lifetime).Unix(), rand.Text()
	return p.Token(audience, merge(all, claims))
}

// personClaims are what tokens say of a person beside the subject.
func personClaims(who *Person) map[string]any {
	claims := map[string]any{"email": who.Email, "email_verified": true}
	if who.Groups != nil {
		claims["groups"] = who.Groups
	}
	maps.Copy(claims, who.Claims)
	return claims
}

// bySubject finds a person; the caller holds the lock.
func (p *Provider) bySubject(subject string) *Person {
	for _, who := range p.people {
		if who.Subject == subject {
			return who
		}
	}
	return nil
}

var pages = template.Must(template.New("sign-in").Parse(`<!doctype html><html lang="en"><title>Sign in</title>
<h1>Who are you?</h1><form method="post"><input type="hidden" name="id" value="{{.ID}}">
{{range .Names}}<p><button name="as" value="{{.}}">{{.}}</button></p>{{end}}
{{if .Device}}<p><button name="deny" value="1">Deny</button></p>{{end}}</form></html>`))

// chosen is who signs in by this request: the person clicked on, or else the
// one of SignInAs. If nobody, it has shown the page.
func (p *Provider) chosen(w http.ResponseWriter, r *http.Request, id string, device bool) *Person {
	p.mu.Lock()
	name := p.as
	if as := r.FormValue("as"); as != "" {
		name = as
	}
	who := p.people[name]
	names := slices.Sorted(maps.Keys(p.people))
	p.mu.Unlock()
	if who == nil {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if err := pages.Execute(w, map[string]any{"ID": id, "Names": names, "Device": device}); err != nil {
			p.tb.Error(err)
		}
	}
	return who
}

// signIn is the page that /authorize leads to.
func (p *Provider) signIn(w http.ResponseWriter, r *http.Request) {
	id := r.FormValue("id")
	who := p.chosen(w, r, id, false)
	if who == nil {
		return
	}
	p.mu.Lock()
	request := p.requests[id]
	if request != nil {
		request.subject, request.at = who.Subject, time.Now()
	}
	p.mu.Unlock()
	if request == nil {
		http.Error(w, "there is no such request", http.StatusBadRequest)
		return
	}
	http.Redirect(w, r, "/authorize/callback?id="+url.QueryEscape(id), http.StatusFound)
}

// device is the page where a person enters the code that a device shows.
func (p *Provider) device(w http.ResponseWriter, r *http.Request) {
	code := r.FormValue("user_code")
	if code == "" {
		code = r.FormValue("id")
	}
	if r.FormValue("deny") != "" {
		p.AnswerDevice(code, "")
		return
	}
	if who := p.chosen(w, r, code, true); who != nil && !p.AnswerDevice(code, who.Name) {
		http.Error(w, "there is no such code", http.StatusBadRequest)
	}
}

// AnswerDevice lets a person, or nobody if the name is empty, into the device
// that shows a user code, and reports whether there is one.
func (p *Provider) AnswerDevice(userCode, name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	device := p.devices[p.user[userCode]]
	if device == nil || device.Done {
		return false
	}
	who := p.people[name]
	if who == nil {
		device.Denied = true
		return true
	}
	device.Subject, device.AuthTime, device.Done = who.Subject, time.Now(), true
	return true
}

// register is dynamic client registration (RFC 7591).
func (p *Provider) register(w http.ResponseWriter, r *http.Request) {
	var asked map[string]any
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		http.Error(w, `{"error":"invalid_client_metadata"}`, http.StatusBadRequest)
		return
	}
	c := Client{ID: "registered-" + rand.Text()}
	redirects, _ := asked["redirect_uris"].([]any)
	for _, u := range redirects {
		if text, ok := u.(string); ok {
			c.Redirects = append(c.Redirects, text)
		}
	}
	p.AddClient(c)
	asked["client_id"], asked["client_id_issued_at"] = c.ID, time.Now().Unix()
	asked["token_endpoint_auth_method"] = "none"
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	if err := json.NewEncoder(w).Encode(asked); err != nil {
		p.tb.Error(err)
	}
}

// callback is the engine's, with the issuer in its answer (RFC 9207).
func (p *Provider) callback(w http.ResponseWriter, r *http.Request) {
	recorded := httptest.NewRecorder()
	p.serveEngine(recorded, r)
	if place := recorded.Header().Get("Location"); place != "" {
		if u, err := url.Parse(place); err == nil {
			q := u.Query()
			q.Set("iss", p.URL())
			u.RawQuery = q.Encode()
			recorded.Header().Set("Location", u.String())
		}
	}
	p.pass(w, recorded)
}

// token is the engine's token endpoint. Its access tokens get the type that
// RFC 9068 wants and the audience that RFC 8707 wants, and its ID tokens the
// audience that is theirs alone.
func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	recorded := httptest.NewRecorder()
	p.serveEngine(recorded, r)
	var answer map[string]any
	if recorded.Code != http.StatusOK || json.Unmarshal(recorded.Body.Bytes(), &answer) != nil {
		p.pass(w, recorded)
		return
	}
	if access, ok := answer["access_token"].(string); ok {
		claims := p.read(access)
		client, _ := claims["client_id"].(string)
		aud := slices.DeleteFunc(texts(claims["aud"]), func(a string) bool { return a == client })
		if asked := r.PostForm["resource"]; len(asked) > 0 {
			aud = asked
		}
		if len(aud) == 0 {
			aud = []string{client}
		}
		claims["aud"] = aud
		access = p.Sign(nil, claims)
		answer["access_token"] = access
		if id, ok := answer["id_token"].(string); ok {
			claims := p.read(id)
			sum := sha256.Sum256([]byte(access))
			claims["aud"], claims["at_hash"] = client, base64.RawURLEncoding.EncodeToString(sum[:16])
			answer["id_token"] = p.Sign(map[string]any{"typ": "JWT"}, claims)
		}
	}
	maps.Copy(w.Header(), recorded.Header())
	w.Header().Del("Content-Length")
	p.reply(w, answer)
}

// read returns the claims of a token that this provider has made.
func (p *Provider) read(token string) map[string]any {
	claims := map[string]any{}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		p.tb.Errorf("the engine made no JWT: %q", token)
		return claims
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(raw, &claims)
	}
	if err != nil {
		p.tb.Errorf("reading a token of the engine's: %v", err)
	}
	return claims
}

// texts are the texts of a claim that is one or several.
func texts(v any) []string {
	if one, ok := v.(string); ok {
		return []string{one}
	}
	list, _ := v.([]any)
	var out []string
	for _, e := range list {
		if text, ok := e.(string); ok {
			out = append(out, text)
		}
	}
	return out
}

// serveEngine passes a request to the engine, which knows nothing of the
// parameter of RFC 8707.
func (p *Provider) serveEngine(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	p.engine.ServeHTTP(w, r.WithContext(withResources(r.Context(), r.Form["resource"])))
}

func (p *Provider) pass(w http.ResponseWriter, recorded *httptest.ResponseRecorder) {
	maps.Copy(w.Header(), recorded.Header())
	w.WriteHeader(recorded.Code)
	if _, err := w.Write(recorded.Body.Bytes()); err != nil {
		p.tb.Log(err)
	}
}
