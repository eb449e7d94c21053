package config_test

import (
	"testing"

	"stagedoor/config"
)

func TestStorageHosts(t *testing.T) {
	s := config.Storage{Hosts: []string{"*.s3-accelerate.amazonaws.com", "media.acme.lan", "storage.acme.lan:9000", "[::1]:9000"}}
	for host, want := range map[string]bool{
		"sg-media-usor-01.s3-accelerate.amazonaws.com": true,
		"SG-media.S3-accelerate.amazonaws.com:443":     true,
		"sg-media.s3-accelerate.amazonaws.com:8443":    false,
		"a.b.s3-accelerate.amazonaws.com":              false,
		"s3-accelerate.amazonaws.com":                  false,
		".s3-accelerate.amazonaws.com":                 false,
		"x.s3-accelerate.amazonaws.com.evil.org":       false,
		"evil.org/x.s3-accelerate.amazonaws.com":       false,
		"evil.org?x.s3-accelerate.amazonaws.com":       false,
		"evil.org#.s3-accelerate.amazonaws.com":        false,
		"user@x.s3-accelerate.amazonaws.com":           false,
		"media.acme.lan":                               true,
		"media.acme.lan:443":                           true,
		"media.acme.lan:80":                            false,
		"media.acme.lan.":                              false,
		"x.media.acme.lan":                             false,
		"storage.acme.lan:9000":                        true,
		"storage.acme.lan":                             false,
		"[::1]:9000":                                   true,
		"":                                             false,
		":443":                                         false,
		"*.s3-accelerate.amazonaws.com":                false,
	} {
		if got := s.Covers(host); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
}
