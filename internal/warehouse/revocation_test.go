package warehouse

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// An issuer makes certificates and says which of them count no longer.
type issuer struct {
	key   *ecdsa.PrivateKey
	cert  *x509.Certificate
	lists *httptest.Server
	asked atomic.Int64
	list  atomic.Pointer[[]byte] // nil: 404
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "issuer"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{key: key}
	if i.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	i.lists = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.asked.Add(1)
		if list := i.list.Load(); list != nil {
			_, _ = w.Write(*list)
			return
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(i.lists.Close)
	return i
}

// publish signs a list with some serial numbers on it.
func (i *issuer) publish(t *testing.T, next time.Time, serials ...int64) {
	t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(time.Now().UnixNano()), ThisUpdate: time.Now().Add(-2 * time.Hour), NextUpdate: next}
	for _, s := range serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(s), RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, i.cert, i.key)
	if err != nil {
		t.Fatal(err)
	}
	i.list.Store(&der)
}

// server serves with a certificate of the issuer's, serial number 7.
func (i *issuer) server(t *testing.T) *httptest.Server {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), DNSNames: []string{"example.com"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		CRLDistributionPoints: []string{i.lists.URL + "/list.crl"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, i.cert, key.Public(), i.key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.Config.ErrorLog = quiet()
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func TestRevocation(t *testing.T) {
	i, other := newIssuer(t), newIssuer(t)
	s := i.server(t)
	later, before := time.Now().Add(time.Hour), time.Now().Add(-time.Minute)
	for name, test := range map[string]struct {
		publish func()
		revoked bool
	}{
		"no list":            {func() { i.list.Store(nil) }, false},
		"not on the list":    {func() { i.publish(t, later, 6, 8) }, false},
		"on the list":        {func() { i.publish(t, later, 6, 7, 8) }, true},
		"on a list of old":   {func() { i.publish(t, before, 7) }, false},
		"on somebody's list": {func() { other.publish(t, later, 7); i.list.Store(other.list.Load()) }, false},
		"on what is no list": {func() { x := []byte("7"); i.list.Store(&x) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			test.publish()
			g := newGuard("https")
			defer g.close()
			base := g.base.(*http.Transport)
			base.TLSClientConfig.RootCAs = x509.NewCertPool()
			base.TLSClientConfig.RootCAs.AddCert(i.cert)
			base.TLSClientConfig.ServerName = "example.com"
			for range 2 {
				reply, err := (&http.Client{Transport: g}).Get(s.URL)
				if err == nil {
					reply.Body.Close()
					base.CloseIdleConnections()
				}
				if errors.Is(err, errRevoked) != test.revoked || !test.revoked && err != nil {
					t.Errorf("%v, want revoked: %t", err, test.revoked)
				}
			}
		})
	}
	if n := i.asked.Load(); n != 6 {
		t.Errorf("lists were fetched %d times, want once a guard", n)
	}
}
