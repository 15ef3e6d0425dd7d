package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// tlsConfig is a certificate of the gateway's own, in PEM.
type tlsConfig struct {
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
}

// checkNetwork refuses what would let tokens cross a network in the clear.
func (c *config) checkNetwork() error {
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		return errors.New("tls: needs both cert_file and key_file")
	}
	if _, err := c.proxies(); err != nil {
		return err
	}
	if c.Plaintext && c.TLS.CertFile != "" {
		return errors.New("plaintext: stands beside tls; keep one of them")
	}
	if c.Plaintext && len(c.TrustedProxies) == 0 {
		return errors.New("plaintext: is for a proxy that speaks TLS to clients; name it in trusted_proxies")
	}
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %q is not host:port", c.Listen)
	}
	if c.TLS.CertFile == "" && !c.Plaintext && !isLoopback(host) {
		return fmt.Errorf("listen: %q is not a loopback address, and tokens must not cross a network in the clear; set tls, or put a TLS proxy in front and name it in trusted_proxies with plaintext: true", c.Listen)
	}
	return nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// proxies are the hops whose word about where a request comes from counts.
type proxies struct {
	trusted []netip.Prefix
	// only refuses requests from anywhere else but loopback: the listener
	// speaks plaintext, and is there for the proxies alone.
	only bool
	// https refuses requests of which a proxy says that they came without TLS.
	https bool
}

func (c *config) proxies() (proxies, error) {
	p := proxies{only: c.Plaintext, https: strings.HasPrefix(c.Resource, "https:")}
	for _, text := range c.TrustedProxies {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			addr, addrErr := netip.ParseAddr(text)
			if addrErr != nil {
				return proxies{}, fmt.Errorf("trusted_proxies: %q is neither an address nor a network such as 10.1.0.0/16", text)
			}
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
		if prefix.Bits() == 0 {
			return proxies{}, fmt.Errorf("trusted_proxies: %q is everybody", text)
		}
		p.trusted = append(p.trusted, prefix.Masked())
	}
	return p, nil
}

func (p proxies) trusts(addr netip.Addr) bool {
	return slices.ContainsFunc(p.trusted, func(prefix netip.Prefix) bool { return prefix.Contains(addr) })
}

// wrap makes RemoteAddr of each request the address of the client: of the
// nearest hop that is not a trusted proxy. Headers about it count from trusted
// proxies alone, and are taken away from all other requests.
func (p proxies) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil {
			http.Error(w, "this request comes from nowhere", http.StatusBadRequest)
			return
		}
		addr := from.Addr().Unmap()
		if p.trusts(addr) {
			client, err := p.client(r.Header)
			if err != nil {
				http.Error(w, "the headers about where this request comes from cannot be read", http.StatusBadRequest)
				return
			}
			if client.IsValid() {
				// Ports of clients behind proxies are not known.
				r.RemoteAddr = netip.AddrPortFrom(client, 0).String()
			}
			if p.https && p.insecure(r.Header) {
				http.Error(w, "this gateway is reached by https alone", http.StatusForbidden)
				return
			}
		} else if p.only && !addr.IsLoopback() {
			http.Error(w, "this gateway is reached through its proxy alone", http.StatusForbidden)
			return
		}
		for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-Ip"} {
			r.Header.Del(name)
		}
		next.ServeHTTP(w, r)
	})
}

var errAmbiguous = errors.New("both Forwarded and X-Forwarded-For are there, and proxies pass on the one that they do not set")

// client is the last address in X-Forwarded-For or Forwarded (RFC 7239) that
// is not a trusted proxy's. What stands before it is the client's own word.
func (p proxies) client(h http.Header) (netip.Addr, error) {
	hops := list(h.Values("X-Forwarded-For"))
	if forwarded := h.Values("Forwarded"); len(forwarded) > 0 {
		if len(hops) > 0 {
			return netip.Addr{}, errAmbiguous
		}
		for _, hop := range list(forwarded) {
			node := parameter(hop, "for")
			if node == "" {
				return netip.Addr{}, errors.New("a hop without for")
			}
			hops = append(hops, node)
		}
	}
	var client netip.Addr
	for _, hop := range slices.Backward(hops) {
		addr, err := node(hop)
		if err != nil {
			return netip.Addr{}, err
		}
		client = addr
		if !p.trusts(addr) {
			break
		}
	}
	return client, nil
}

// insecure reports whether the nearest proxy says that the request came to it
// without TLS.
func (p proxies) insecure(h http.Header) bool {
	protos := list(h.Values("X-Forwarded-Proto"))
	for _, hop := range list(h.Values("Forwarded")) {
		protos = append(protos, parameter(hop, "proto"))
	}
	last := ""
	if len(protos) > 0 {
		last = protos[len(protos)-1]
	}
	return last != "" && !strings.EqualFold(last, "https")
}

// list splits the values of a header at commas.
func list(values []string) []string {
	var out []string
	for _, value := range values {
		for part := range strings.SplitSeq(value, ",") {
			out = append(out, strings.TrimSpace(part))
		}
	}
	return out
}

// parameter is a parameter of a hop in Forwarded, without quotes.
func parameter(hop, name string) string {
	for part := range strings.SplitSeq(hop, ";") {
		key, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		if strings.EqualFold(key, name) {
			return strings.Trim(value, `"`)
		}
	}
	return ""
}

// node reads an address, perhaps with a port.
func node(text string) (netip.Addr, error) {
	if withPort, err := netip.ParseAddrPort(text); err == nil {
		return withPort.Addr().Unmap().WithZone(""), nil
	}
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	return addr.Unmap().WithZone(""), err
}
