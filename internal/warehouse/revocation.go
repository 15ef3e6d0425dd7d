package warehouse

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// A revocation looks certificates up in the lists that their issuers publish
// (RFC 5280, section 5): one that is listed ends the connection. A list that
// cannot be had, or does not count, does not, as in the drivers' advisory mode:
// who can keep this machine from the lists could as well keep it from the
// account.
type revocation struct {
	client *http.Client
	now    func() time.Time

	mu    sync.Mutex
	lists map[string]*crl
}

// A crl is an issuer's list, or that there is none for now.
type crl struct {
	list  *x509.RevocationList
	until time.Time
}

const (
	maxCRL = 32 << 20 // bytes
	// How long a list is believed at most, and how long it is not asked for
	// again after it could not be had.
	crlKept, crlMissed = 6 * time.Hour, 5 * time.Minute
)

func newRevocation() *revocation {
	// Lists are signed, and are published in the clear so that looking one up
	// needs no certificate.
	return &revocation{
		client: &http.Client{Timeout: 10 * time.Second},
		now:    time.Now,
		lists:  map[string]*crl{},
	}
}

var errRevoked = errors.New("the certificate has been revoked by its issuer")

// check is for [tls.Config.VerifyConnection]: it runs after the chain was
// verified, also for resumed sessions.
func (r *revocation) check(state tls.ConnectionState) error {
	var revoked error
	for _, chain := range state.VerifiedChains {
		bad := false
		for i := range len(chain) - 1 {
			if r.revoked(chain[i], chain[i+1]) {
				bad = true
				revoked = fmt.Errorf("%w: serial number %s", errRevoked, chain[i].SerialNumber)
				break
			}
		}
		if !bad {
			return nil // one good chain is enough
		}
	}
	return revoked
}

func (r *revocation) revoked(cert, issuer *x509.Certificate) bool {
	for _, url := range cert.CRLDistributionPoints {
		list := r.list(url, issuer)
		if list == nil {
			continue
		}
		for _, entry := range list.RevokedCertificateEntries {
			if entry.SerialNumber.Cmp(cert.SerialNumber) == 0 {
				return true
			}
		}
	}
	return false
}

// list returns the list at an address, nil if there is none that counts.
func (r *revocation) list(url string, issuer *x509.Certificate) *x509.RevocationList {
	key := url + "\x00" + string(issuer.RawSubjectPublicKeyInfo)
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if known := r.lists[key]; known != nil && now.Before(known.until) {
		return known.list
	}
	got := &crl{until: now.Add(crlMissed)}
	if list, err := r.fetch(url); err == nil && list.CheckSignatureFrom(issuer) == nil && (list.NextUpdate.IsZero() || now.Before(list.NextUpdate)) {
		got.list, got.until = list, now.Add(crlKept)
		if !list.NextUpdate.IsZero() && list.NextUpdate.Before(got.until) {
			got.until = list.NextUpdate
		}
	}
	r.lists[key] = got
	return got.list
}

func (r *revocation) fetch(url string) (*x509.RevocationList, error) {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("fetching a revocation list: %w", err)
	}
	reply, err := r.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("fetching a revocation list: %w", err)
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetching a revocation list: status %d", reply.StatusCode)
	}
	der, err := io.ReadAll(io.LimitReader(reply.Body, maxCRL))
	if err != nil {
		return nil, fmt.Errorf("fetching a revocation list: %w", err)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, fmt.Errorf("reading a revocation list: %w", err)
	}
	return list, nil
}
