package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestProxies(t *testing.T) {
	c := &config{Listen: "0.0.0.0:8443", Plaintext: true, Resource: "https://gate.example/mcp", TrustedProxies: []string{"10.1.0.0/16", "192.0.2.7", "2001:db8::/32"}}
	if err := c.checkNetwork(); err != nil {
		t.Fatal(err)
	}
	hops, err := c.proxies()
	if err != nil {
		t.Fatal(err)
	}
	var remote string
	var left http.Header
	handler := hops.wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { remote, left = r.RemoteAddr, r.Header }))
	type h = map[string][]string
	for _, test := range []struct {
		name   string
		from   string
		header h
		want   string // 4xx if it is turned away
	}{
		{"from a stranger", "198.51.100.1:1", nil, "403"},
		{"from a stranger who says otherwise", "198.51.100.1:1", h{"X-Forwarded-For": {"10.1.0.1"}}, "403"},
		{"from this host", "127.0.0.1:1", h{"X-Forwarded-For": {"203.0.113.9"}}, "127.0.0.1:1"},
		{"through the proxy", "10.1.2.3:1", h{"X-Forwarded-For": {"203.0.113.9"}, "X-Forwarded-Proto": {"https"}}, "203.0.113.9:0"},
		{"through the proxy, over IPv4 in IPv6", "[::ffff:10.1.2.3]:1", h{"X-Forwarded-For": {"203.0.113.9"}}, "203.0.113.9:0"},
		{"through two proxies", "10.1.2.3:1", h{"X-Forwarded-For": {"203.0.113.9, 192.0.2.7"}}, "203.0.113.9:0"},
		{"through two proxies, two headers", "10.1.2.3:1", h{"X-Forwarded-For": {"203.0.113.9", "192.0.2.7"}}, "203.0.113.9:0"},
		{"what the client claims", "10.1.2.3:1", h{"X-Forwarded-For": {"127.0.0.1, 203.0.113.9"}}, "203.0.113.9:0"},
		{"what the client claims, in a header of its own", "10.1.2.3:1", h{"X-Forwarded-For": {"10.1.0.1", "203.0.113.9"}}, "203.0.113.9:0"},
		{"from a proxy itself", "10.1.2.3:1", h{"X-Forwarded-For": {"10.1.0.1"}}, "10.1.0.1:0"},
		{"without a word", "10.1.2.3:1", nil, "10.1.2.3:1"},
		{"IPv6 with a port", "10.1.2.3:1", h{"X-Forwarded-For": {"[2001:db9::1]:443"}}, "[2001:db9::1]:0"},
		{"no address", "10.1.2.3:1", h{"X-Forwarded-For": {"unknown"}}, "400"},
		{"an empty one", "10.1.2.3:1", h{"X-Forwarded-For": {"203.0.113.9,"}}, "400"},
		{"by the RFC", "10.1.2.3:1", h{"Forwarded": {`for=203.0.113.9;proto=https;by=10.1.2.3`}}, "203.0.113.9:0"},
		{"by the RFC, IPv6", "10.1.2.3:1", h{"Forwarded": {`For="[2001:db9::1]:4711"`}}, "[2001:db9::1]:0"},
		{"by the RFC, hidden", "10.1.2.3:1", h{"Forwarded": {`for=_hidden`}}, "400"},
		{"by the RFC, without for", "10.1.2.3:1", h{"Forwarded": {`proto=https`}}, "400"},
		{"both", "10.1.2.3:1", h{"Forwarded": {"for=203.0.113.9"}, "X-Forwarded-For": {"203.0.113.9"}}, "400"},
		{"in the clear to the proxy", "10.1.2.3:1", h{"X-Forwarded-For": {"203.0.113.9"}, "X-Forwarded-Proto": {"http"}}, "403"},
		{"in the clear to the proxy, whatever the client claims", "10.1.2.3:1", h{"X-Forwarded-For": {"203.0.113.9"}, "X-Forwarded-Proto": {"https, http"}}, "403"},
		{"in the clear, by the RFC", "10.1.2.3:1", h{"Forwarded": {"for=203.0.113.9;proto=http"}}, "403"},
	} {
		remote, left = "", nil
		r := httptest.NewRequest(http.MethodPost, "/mcp", nil)
		r.RemoteAddr = test.from
		for name, values := range test.header {
			r.Header[name] = values
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		got := remote
		if w.Code != http.StatusOK {
			got = http.StatusText(w.Code)
			test.want = map[string]string{"400": "Bad Request", "403": "Forbidden"}[test.want]
		}
		if got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
		for name := range left {
			if strings.HasPrefix(name, "X-Forwarded") || name == "Forwarded" {
				t.Errorf("%s: %s goes on", test.name, name)
			}
		}
	}

	// Without proxies the headers mean nothing.
	none := proxies{}.wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { remote = r.RemoteAddr }))
	r := httptest.NewRequest(http.MethodPost, "/mcp", nil)
	r.RemoteAddr = "127.0.0.1:1"
	r.Header.Set("X-Forwarded-For", "203.0.113.9")
	none.ServeHTTP(httptest.NewRecorder(), r)
	if remote != "127.0.0.1:1" {
		t.Errorf("without proxies: %q", remote)
	}
}

func TestCheckNetwork(t *testing.T) {
	for name, test := range map[string]struct {
		c    config
		want string // in the error
	}{
		"loopback":                  {config{Listen: "127.0.0.1:1"}, ""},
		"loopback, IPv6":            {config{Listen: "[::1]:1"}, ""},
		"localhost":                 {config{Listen: "localhost:1"}, ""},
		"everywhere":                {config{Listen: ":8443"}, "not a loopback address"},
		"everywhere with TLS":       {config{Listen: ":8443", TLS: tlsConfig{"c", "k"}}, ""},
		"a certificate, no key":     {config{Listen: ":8443", TLS: tlsConfig{"c", ""}}, "both cert_file and key_file"},
		"plaintext":                 {config{Listen: ":8443", Plaintext: true}, "name it in trusted_proxies"},
		"a proxy, plaintext unsaid": {config{Listen: ":8443", TrustedProxies: []string{"10.0.0.1"}}, "plaintext: true"},
		"a proxy":                   {config{Listen: ":8443", Plaintext: true, TrustedProxies: []string{"10.0.0.1"}}, ""},
		"everybody is a proxy":      {config{Listen: ":8443", Plaintext: true, TrustedProxies: []string{"0.0.0.0/0"}}, "is everybody"},
		"everybody, IPv6":           {config{Listen: ":8443", Plaintext: true, TrustedProxies: []string{"::/0"}}, "is everybody"},
		"a name":                    {config{Listen: ":8443", Plaintext: true, TrustedProxies: []string{"proxy.example"}}, "neither an address nor a network"},
		"plaintext and TLS":         {config{Listen: ":8443", Plaintext: true, TLS: tlsConfig{"c", "k"}, TrustedProxies: []string{"10.0.0.1"}}, "keep one of them"},
		"no port":                   {config{Listen: "127.0.0.1"}, "not host:port"},
	} {
		err := test.c.checkNetwork()
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

// Whatever the headers say: an answer is an address or an error, and nobody
// becomes somebody by naming a proxy.
func FuzzForwarded(f *testing.F) {
	hops, err := (&config{TrustedProxies: []string{"10.0.0.0/8"}}).proxies()
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"", "203.0.113.9", "10.0.0.1, 203.0.113.9", `for="[2001:db8::1]:1";proto=https`, "for=", ",,", "::ffff:10.0.0.1", "fe80::1%eth0"} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, value string, standard bool) {
		h := http.Header{"X-Forwarded-For": {value}}
		if standard {
			h = http.Header{"Forwarded": {value}}
		}
		client, err := hops.client(h)
		if err != nil {
			return
		}
		if !client.IsValid() || client.Is4In6() || client.Zone() != "" {
			t.Errorf("%q is %v", value, client)
		}
		// What a proxy puts behind it counts, whatever it is.
		last := "198.51.100.1"
		if standard {
			last = "for=198.51.100.1"
		}
		for name := range h {
			h[name] = append(h[name], last)
		}
		if got, err := hops.client(h); err != nil || got.String() != "198.51.100.1" {
			t.Errorf("%q and then 198.51.100.1 is %v, %v", value, got, err)
		}
		_ = hops.insecure(h)
	})
}
