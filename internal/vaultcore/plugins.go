package main

import (
	jwtauth "github.com/hashicorp/vault-plugin-auth-jwt"
	kubeauth "github.com/hashicorp/vault-plugin-auth-kubernetes"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/builtin/credential/cert"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
)

// secretEngines are the secret engines a test may mount, by type.
func secretEngines() map[string]logical.Factory {
	return map[string]logical.Factory{"kv": kv.Factory}
}

// authMethods are the auth methods a test may enable, by type. Token auth is
// part of the core.
func authMethods() map[string]logical.Factory {
	return map[string]logical.Factory{
		"approle":    approle.Factory,
		"cert":       cert.Factory,
		"jwt":        jwtauth.Factory,
		"kubernetes": kubeauth.Factory,
	}
}

// registry tells the core which plugins are built in. Vault's own registry
// would pull in every database and cloud client there is.
type registry struct {
	secrets, auth map[string]logical.Factory
}

func (r registry) of(kind consts.PluginType) map[string]logical.Factory {
	switch kind {
	case consts.PluginTypeSecrets:
		return r.secrets
	case consts.PluginTypeCredential:
		return r.auth
	case consts.PluginTypeUnknown, consts.PluginTypeDatabase:
	}
	return nil
}

func (r registry) Contains(name string, kind consts.PluginType) bool {
	_, ok := r.of(kind)[name]
	return ok
}

func (r registry) Get(name string, kind consts.PluginType) (func() (any, error), bool) {
	f, ok := r.of(kind)[name]
	return func() (any, error) { return f, nil }, ok
}

func (r registry) Keys(kind consts.PluginType) []string {
	var names []string
	for name := range r.of(kind) {
		names = append(names, name)
	}
	return names
}

func (r registry) DeprecationStatus(name string, kind consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, r.Contains(name, kind)
}

func (r registry) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }
