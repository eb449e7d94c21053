package parts

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
)

// The service account that the stand-in cluster knows, and the audience its
// tokens are for.
const (
	kubeNamespace = "studio"
	kubeAccount   = "stagedoor"
	kubeUID       = "6f2a1f0c-4f0b-4b52-9d2b-0f6c7f1d8e11"
	kubeAudience  = "vault"
)

// kubeLife is the life of a service account token: longer than any test run.
const kubeLife = 24 * time.Hour

// maxReview bounds the body of a TokenReview, in bytes.
const maxReview = 64 << 10

// Kubernetes is a role of the Kubernetes auth method, at its usual mount, bound
// to one service account of a stand-in cluster.
type Kubernetes struct {
	Role    string
	JWTFile string // the service account's token, as a pod finds it in its volume
	denied  atomic.Bool
}

// Kubernetes makes a role whose logins get policy, and tokens of ttl that
// renewals take no further than maxTTL. Vault's plugin always asks the cluster
// to review a token, so this starts a stand-in for that one API, over plain
// HTTP, which accepts exactly the JWT in JWTFile. One role per Vault: the
// plugin's configuration names one cluster.
func (v *VaultServer) Kubernetes(role, policy string, ttl, maxTTL time.Duration) *Kubernetes {
	v.tb.Helper()
	if v.enabled["kubernetes"] {
		v.tb.Fatal("this Vault has a Kubernetes role already")
	}
	v.enable("kubernetes")
	jwt, err := serviceAccountJWT(kubeAccount, kubeUID)
	if err != nil {
		v.tb.Fatalf("making a service account token: %v", err)
	}
	reviewer, err := serviceAccountJWT("vault-reviewer", "reviewer")
	if err != nil {
		v.tb.Fatalf("making a service account token: %v", err)
	}
	k := &Kubernetes{Role: role, JWTFile: filepath.Join(v.dir, "kubernetes.jwt")}
	if err := os.WriteFile(k.JWTFile, []byte(jwt), 0o600); err != nil {
		v.tb.Fatalf("writing the service account token: %v", err)
	}
	cluster := httptest.NewServer(&tokenReviews{jwt: jwt, reviewer: reviewer, denied: &k.denied})
	v.tb.Cleanup(cluster.Close)
	v.write("auth/kubernetes/config", map[string]any{
		"kubernetes_host": cluster.URL, "token_reviewer_jwt": reviewer, "disable_local_ca_jwt": true,
	})
	v.write("auth/kubernetes/role/"+role, map[string]any{
		"bound_service_account_names":      kubeAccount,
		"bound_service_account_namespaces": kubeNamespace,
		"audience":                         kubeAudience,
		"token_policies":                   policy,
		"token_ttl":                        seconds(ttl), "token_max_ttl": seconds(maxTTL),
	})
	return k
}

// Deny makes the cluster answer that the token is not valid (a deleted service
// account), until Deny(false).
func (k *Kubernetes) Deny(yes bool) { k.denied.Store(yes) }

// serviceAccountJWT makes a projected token in the cluster's own shape. Nobody
// here checks its signature: the TokenReview compares the whole token.
func serviceAccountJWT(account, uid string) (string, error) {
	now := time.Now()
	claims, err := json.Marshal(map[string]any{
		"iss": "https://kubernetes.default.svc",
		"sub": "system:serviceaccount:" + kubeNamespace + ":" + account,
		"aud": []string{kubeAudience},
		"iat": now.Unix(), "nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(kubeLife).Unix(),
		"kubernetes.io": map[string]any{
			"namespace":      kubeNamespace,
			"serviceaccount": map[string]any{"name": account, "uid": uid},
		},
	})
	if err != nil {
		return "", err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(`{"alg":"ES256","kid":"test"}`)) + "." + encode(claims)
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		return "", err
	}
	const half = 32 // bytes of each number of an ES256 signature
	signature := make([]byte, 2*half)
	r.FillBytes(signature[:half])
	s.FillBytes(signature[half:])
	return text + "." + encode(signature), nil
}

// tokenReviews stands in for a cluster's TokenReview API, strictly: the
// reviewer's own token, the exact path, method and document, or an error.
type tokenReviews struct {
	jwt, reviewer string
	denied        *atomic.Bool
}

// tokenReview is the request document. Members that the plugin sends empty are
// named, so that any other is refused.
type tokenReview struct {
	Kind       string `json:"kind"`
	APIVersion string `json:"apiVersion"`
	Metadata   struct {
		CreationTimestamp *string `json:"creationTimestamp"`
	} `json:"metadata"`
	Spec struct {
		Token     string   `json:"token"`
		Audiences []string `json:"audiences"`
	} `json:"spec"`
	Status struct {
		User struct{} `json:"user"`
	} `json:"status"`
}

func (t *tokenReviews) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || r.URL.Path != "/apis/authentication.k8s.io/v1/tokenreviews" {
		http.Error(w, "no such API", http.StatusNotFound)
		return
	}
	if !same(r.Header.Get("Authorization"), "Bearer "+t.reviewer) {
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	var review tokenReview
	body := http.MaxBytesReader(w, r.Body, maxReview)
	err := jsonv2.UnmarshalRead(body, &review, jsonv2.RejectUnknownMembers(true))
	if err != nil || r.Header.Get("Content-Type") != "application/json" {
		http.Error(w, "no TokenReview", http.StatusBadRequest)
		return
	}
	status := map[string]any{"authenticated": false, "error": "token is not valid"}
	if same(review.Spec.Token, t.jwt) && slices.Equal(review.Spec.Audiences, []string{kubeAudience}) && !t.denied.Load() {
		status = map[string]any{
			"authenticated": true,
			"audiences":     []string{kubeAudience},
			"user":          map[string]any{"username": "system:serviceaccount:" + kubeNamespace + ":" + kubeAccount, "uid": kubeUID},
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	answer, err := json.Marshal(map[string]any{"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "status": status})
	if err != nil {
		panic(http.ErrAbortHandler) // a map of strings and booleans always encodes
	}
	_, _ = w.Write(answer) // fails when the caller is gone: nobody left to tell
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
