package vault

// UsesProxy says whether connections to Vault would go through any proxy. Go
// looks no proxy up for loopback addresses, so that no socket of a test shows it.
func UsesProxy() (bool, error) {
	t, err := newTransport("")
	return err != nil || t.Proxy != nil, err
}
