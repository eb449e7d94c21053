package parts

import (
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
)

// The mounts that every VaultServer has.
const (
	mountV2 = "kv"
	mountV1 = "kv1"
)

// Put writes a secret to kv/ (version 2) and returns its new version.
func (v *VaultServer) Put(path string, data map[string]any) int {
	v.tb.Helper()
	s, err := v.client.KVv2(mountV2).Put(v.tb.Context(), path, data)
	if err != nil {
		v.tb.Fatalf("putting %s/%s: %v", mountV2, path, err)
	}
	return s.VersionMetadata.Version
}

// PutV1 writes a secret to kv1/ (version 1, which keeps no versions).
func (v *VaultServer) PutV1(path string, data map[string]any) {
	v.tb.Helper()
	if err := v.client.KVv1(mountV1).Put(v.tb.Context(), path, data); err != nil {
		v.tb.Fatalf("putting %s/%s: %v", mountV1, path, err)
	}
}

// DeleteV1 removes a secret from kv1/.
func (v *VaultServer) DeleteV1(path string) {
	v.tb.Helper()
	v.must("deleting", v.client.KVv1(mountV1).Delete(v.tb.Context(), path))
}

// Delete marks versions of a secret in kv/ as deleted; reads answer 404 with
// metadata. [VaultServer.Undelete] takes it back.
func (v *VaultServer) Delete(path string, versions ...int) {
	v.tb.Helper()
	v.must("deleting", v.client.KVv2(mountV2).DeleteVersions(v.tb.Context(), path, versions))
}

// Undelete restores deleted versions in kv/.
func (v *VaultServer) Undelete(path string, versions ...int) {
	v.tb.Helper()
	v.must("undeleting", v.client.KVv2(mountV2).Undelete(v.tb.Context(), path, versions))
}

// Destroy removes the data of versions in kv/ for good.
func (v *VaultServer) Destroy(path string, versions ...int) {
	v.tb.Helper()
	v.must("destroying", v.client.KVv2(mountV2).Destroy(v.tb.Context(), path, versions))
}

// Remove removes a secret from kv/ with all versions and metadata.
func (v *VaultServer) Remove(path string) {
	v.tb.Helper()
	v.must("removing", v.client.KVv2(mountV2).DeleteMetadata(v.tb.Context(), path))
}

// Policy writes a policy, in Vault's HCL, at once in force for every token that
// has it.
func (v *VaultServer) Policy(name, hcl string) {
	v.tb.Helper()
	v.must("writing a policy", v.client.Sys().PutPolicyWithContext(v.tb.Context(), name, hcl))
}

// ReadPolicy writes a policy that allows to read the named API paths, such as
// kv/data/scripts/ingest or kv1/scripts/ingest, and nothing else.
func (v *VaultServer) ReadPolicy(name string, paths ...string) {
	v.tb.Helper()
	var hcl strings.Builder
	for _, path := range paths {
		_, _ = fmt.Fprintf(&hcl, "path %q { capabilities = [\"read\"] }\n", path)
	}
	v.Policy(name, hcl.String())
}

// TokenOptions says what kind of token to mint. The zero value is a renewable
// token of the default lease.
type TokenOptions struct {
	TTL          time.Duration // whole seconds; 0: the default lease
	MaxTTL       time.Duration // renewals end here; 0: the longest lease
	Period       time.Duration // not 0: a periodic token, renewable for ever
	NotRenewable bool
}

// Token mints an orphan token with one policy besides Vault's default one.
func (v *VaultServer) Token(policy string, o TokenOptions) string {
	v.tb.Helper()
	renewable := !o.NotRenewable
	req := &api.TokenCreateRequest{Policies: []string{policy}, Renewable: &renewable}
	if o.TTL != 0 {
		req.TTL = seconds(o.TTL)
	}
	if o.MaxTTL != 0 {
		req.ExplicitMaxTTL = seconds(o.MaxTTL)
	}
	if o.Period != 0 {
		req.Period = seconds(o.Period)
	}
	s, err := v.client.Auth().Token().CreateOrphanWithContext(v.tb.Context(), req)
	if err != nil {
		v.tb.Fatalf("minting a token: %v", err)
	}
	return s.Auth.ClientToken
}

// Revoke revokes a token and all its children.
func (v *VaultServer) Revoke(token string) {
	v.tb.Helper()
	v.must("revoking a token", v.client.Auth().Token().RevokeTreeWithContext(v.tb.Context(), token))
}

// RevokeLogins revokes every token that an auth method, "approle" or
// "kubernetes", has given out: tests don't know the proxy's own.
func (v *VaultServer) RevokeLogins(method string) {
	v.tb.Helper()
	v.must("revoking logins", v.client.Sys().RevokePrefixWithContext(v.tb.Context(), "auth/"+method+"/login"))
}

// AppRole is a role of the AppRole auth method, at its usual mount.
type AppRole struct {
	Role   string
	RoleID string
	vault  *VaultServer
}

// AppRole makes a role whose logins get policy, and tokens of ttl that renewals
// take no further than maxTTL (whole seconds; 0: the server's own).
func (v *VaultServer) AppRole(role, policy string, ttl, maxTTL time.Duration) *AppRole {
	v.tb.Helper()
	v.enable("approle")
	v.write("auth/approle/role/"+role, map[string]any{
		"token_policies": policy, "token_ttl": seconds(ttl), "token_max_ttl": seconds(maxTTL),
	})
	s, err := v.client.Logical().ReadWithContext(v.tb.Context(), "auth/approle/role/"+role+"/role-id")
	if err != nil {
		v.tb.Fatalf("reading the role id of %s: %v", role, err)
	}
	return &AppRole{Role: role, RoleID: v.field(s, "role_id"), vault: v}
}

// NewSecretID makes a secret id that may be used any number of times.
func (a *AppRole) NewSecretID() string {
	v := a.vault
	v.tb.Helper()
	return v.field(v.write("auth/approle/role/"+a.Role+"/secret-id", nil), "secret_id")
}

// NewWrappedSecretID makes a secret id and returns the token that unwraps it,
// once, within ttl.
func (a *AppRole) NewWrappedSecretID(ttl time.Duration) string {
	v := a.vault
	v.tb.Helper()
	client, err := v.client.CloneWithHeaders()
	if err != nil {
		v.tb.Fatalf("cloning the client: %v", err)
	}
	client.SetToken(v.rootToken)
	client.SetWrappingLookupFunc(func(string, string) string { return seconds(ttl) })
	s, err := client.Logical().WriteWithContext(v.tb.Context(), "auth/approle/role/"+a.Role+"/secret-id", nil)
	if err != nil {
		v.tb.Fatalf("wrapping a secret id: %v", err)
	}
	if s == nil || s.WrapInfo == nil {
		v.tb.Fatal("Vault did not wrap the secret id")
	}
	return s.WrapInfo.Token
}

// DestroySecretID makes a secret id worthless: the next login with it is
// refused. Tokens of earlier logins live on.
func (a *AppRole) DestroySecretID(id string) {
	a.vault.tb.Helper()
	a.vault.write("auth/approle/role/"+a.Role+"/secret-id/destroy", map[string]any{"secret_id": id})
}

// enable enables an auth method at its usual mount, once.
func (v *VaultServer) enable(method string) {
	v.tb.Helper()
	if v.enabled[method] {
		return
	}
	err := v.client.Sys().EnableAuthWithOptionsWithContext(v.tb.Context(), method, &api.EnableAuthOptions{Type: method})
	v.must("enabling "+method, err)
	v.enabled[method] = true
}

func (v *VaultServer) must(doing string, err error) {
	v.tb.Helper()
	if err != nil {
		v.tb.Fatalf("%s in Vault: %v", doing, err)
	}
}
