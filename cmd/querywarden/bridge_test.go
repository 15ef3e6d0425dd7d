package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"querywarden/internal/identity"
)

// TestSAMLBridge holds the realm and the gateway's configuration to each other:
// what the one makes is what the other takes, and nothing that people can
// change themselves decides.
func TestSAMLBridge(t *testing.T) {
	dir := filepath.Join("..", "..", "examples", "saml-bridge")
	c, err := loadConfig(filepath.Join(dir, "querywarden.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.verifier(); err != nil {
		t.Fatal(err)
	}
	if _, err := loadPolicy(c.path(c.Policy)); err != nil {
		t.Error(err)
	}
	if len(c.Identity.Issuers) != 1 {
		t.Fatalf("%d issuers", len(c.Identity.Issuers))
	}
	issuer := c.Identity.Issuers[0]

	text, err := os.ReadFile(filepath.Join(dir, "keycloak-realm.json"))
	if err != nil {
		t.Fatal(err)
	}
	var realm struct {
		Realm                     string
		SSLRequired               string
		DefaultSignatureAlgorithm string
		AccessTokenLifespan       int
		RegistrationAllowed       bool
		Components                map[string][]struct{ Config map[string][]string }
		IdentityProviders         []struct {
			Alias, ProviderID string
			Config            map[string]string
		}
		IdentityProviderMappers []struct {
			IdentityProviderAlias, IdentityProviderMapper string
			Config                                        map[string]string
		}
		Clients []struct {
			ClientID                                                                       string
			PublicClient, ImplicitFlowEnabled, DirectAccessGrantsEnabled, FullScopeAllowed bool
			RedirectURIs                                                                   []string
			Attributes                                                                     map[string]string
			ProtocolMappers                                                                []struct {
				ProtocolMapper string
				Config         map[string]string
			}
		}
	}
	if err := json.Unmarshal(text, &realm); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(issuer.URL, "/realms/"+realm.Realm) || realm.SSLRequired != "external" || realm.RegistrationAllowed {
		t.Errorf("the issuer is %s, the realm %+v", issuer.URL, realm)
	}
	if !slices.Equal(issuer.Algorithms, []string{realm.DefaultSignatureAlgorithm}) {
		t.Errorf("the realm signs with %s, the gateway takes %v", realm.DefaultSignatureAlgorithm, issuer.Algorithms)
	}
	if realm.AccessTokenLifespan > 600 {
		t.Errorf("tokens live for %d seconds", realm.AccessTokenLifespan)
	}

	// The SAML side: signed assertions, under the name that the issuer has.
	if len(realm.IdentityProviders) != 1 || realm.IdentityProviders[0].ProviderID != "saml" {
		t.Fatalf("identity providers: %+v", realm.IdentityProviders)
	}
	idp := realm.IdentityProviders[0]
	for setting, want := range map[string]string{
		"validateSignature": "true", "wantAssertionsSigned": "true", "syncMode": "FORCE", "entityId": issuer.URL, "principalType": "SUBJECT",
		"nameIDPolicyFormat": "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent",
	} {
		if idp.Config[setting] != want {
			t.Errorf("%s is %q, want %q", setting, idp.Config[setting], want)
		}
	}
	if idp.Config["signingCertificate"] == "" || !strings.HasPrefix(idp.Config["singleSignOnServiceUrl"], "https://") {
		t.Errorf("the identity provider is %v", idp.Config)
	}

	// The groups: SAML attribute → user attribute → claim → gateway.
	attribute := ""
	for _, m := range realm.IdentityProviderMappers {
		if m.IdentityProviderAlias != idp.Alias || m.IdentityProviderMapper != "saml-user-attribute-idp-mapper" || m.Config["syncMode"] != "FORCE" {
			t.Errorf("mapper %+v", m)
		}
		if m.Config["attribute.name"] == "groups" {
			attribute = m.Config["user.attribute"]
		}
	}
	if len(realm.Clients) != 1 || !slices.Equal(issuer.Clients, []string{realm.Clients[0].ClientID}) {
		t.Fatalf("the realm's clients are %+v, the gateway takes those of %v", realm.Clients, issuer.Clients)
	}
	client := realm.Clients[0]
	audience, claim := "", ""
	for _, m := range client.ProtocolMappers {
		switch m.ProtocolMapper {
		case "oidc-audience-mapper":
			audience = m.Config["included.custom.audience"]
			if m.Config["id.token.claim"] != "false" {
				t.Error("ID tokens have the gateway's audience as well")
			}
		case "oidc-usermodel-attribute-mapper":
			if m.Config["user.attribute"] == attribute && m.Config["multivalued"] == "true" && m.Config["access.token.claim"] == "true" {
				claim = m.Config["claim.name"]
			}
		}
	}
	if audience != c.Resource {
		t.Errorf("tokens are for %q, the gateway is %q", audience, c.Resource)
	}
	if attribute == "" || claim != issuer.GroupsClaim {
		t.Errorf("the SAML groups come as the claim %q of %q, the gateway reads %q", claim, attribute, issuer.GroupsClaim)
	}
	if typed := client.Attributes["access.token.header.type.rfc9068"] == "true"; typed != (issuer.Tokens == identity.TokensTyped) {
		t.Error("the realm and the gateway do not agree about the type of tokens")
	}
	if !client.PublicClient || client.Attributes["pkce.code.challenge.method"] != "S256" || client.ImplicitFlowEnabled || client.DirectAccessGrantsEnabled || client.FullScopeAllowed {
		t.Errorf("the client can sign in by too many ways: %+v", client)
	}
	for _, uri := range client.RedirectURIs {
		if !strings.HasPrefix(uri, "http://127.0.0.1/") && !strings.HasPrefix(uri, "http://localhost/") {
			t.Errorf("tokens go to %s", uri)
		}
	}

	// Nobody gives themselves groups on Keycloak's account pages.
	var profile struct {
		Attributes []struct {
			Name        string
			Multivalued bool
			Permissions struct{ Edit []string }
		}
	}
	provider := realm.Components["org.keycloak.userprofile.UserProfileProvider"]
	if len(provider) != 1 {
		t.Fatalf("the user profile is %+v", provider)
	}
	if err := json.Unmarshal([]byte(provider[0].Config["kc.user.profile.config"][0]), &profile); err != nil {
		t.Fatal(err)
	}
	declared := false
	for _, a := range profile.Attributes {
		if !slices.Equal(a.Permissions.Edit, []string{"admin"}) {
			t.Errorf("%s can be edited by %v", a.Name, a.Permissions.Edit)
		}
		declared = declared || a.Name == attribute && a.Multivalued
	}
	if !declared {
		t.Errorf("Keycloak would drop the attribute %q: it is not in the user profile", attribute)
	}
}

// TestNoXMLSignatures: nothing in the binary checks XML signatures, and nothing
// in it is there for tests.
func TestNoXMLSignatures(t *testing.T) {
	command := exec.Command("go", "list", "-deps", ".")
	out, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	if !strings.Contains(string(out), "querywarden/mcp") {
		t.Fatal("go list tells of another program")
	}
	for line := range strings.Lines(string(out)) {
		name := strings.TrimSpace(line)
		for _, part := range []string{"saml", "xmldsig", "dsig", "etree", "xmlsec", "zitadel/oidc", "net/http/httptest", "/identitytest", "/slacktest", "/witnesstest"} {
			if strings.Contains(strings.ToLower(name), part) {
				t.Errorf("the binary contains %s", name)
			}
		}
	}
}
