// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// The names of the certificate and its key in the box's directory.
const (
	certificateFile = "tls.crt"
	keyFile         = "tls.key"
)

// openCertificate reads the box's certificate, or makes one: self-signed, for loopback and the hosts
// given. It stays the same as long as the directory does.
func openCertificate(dir string, hosts []string) (tls.Certificate, error) {
	certName, keyName := filepath.Join(dir, certificateFile), filepath.Join(dir, keyFile)
	if _, err := os.Stat(certName); errors.Is(err, fs.ErrNotExist) {
		cert, key, err := newCertificate(hosts)
		if err == nil {
			err = os.WriteFile(keyName, key, 0o600)
		}
		if err == nil {
			err = os.WriteFile(certName, cert, 0o644)
		}
		if err != nil {
			return tls.Certificate{}, fmt.Errorf("make the box's certificate: %w", err)
		}
	}
	cert, err := tls.LoadX509KeyPair(certName, keyName)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("read the box's certificate: %w", err)
	}
	return cert, nil
}

// anonymous is TLS_DH_anon_WITH_AES_128_CBC_SHA, RFC 5246, A.5, of which this box knows only the number.
const anonymous = 0x0034

// tlsConfig returns what the connections of api-ssl have in common. Without a certificate RouterOS offers
// only anonymous Diffie-Hellman, which ends in handshake_failure with a client that wants to know whom it
// talks to.
func (b *boot) tlsConfig(cert tls.Certificate) *tls.Config {
	certs := []tls.Certificate{cert}
	bare := &tls.Config{Certificates: certs, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{anonymous}}
	return &tls.Config{
		Certificates: certs, MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			if b.settings.now().noCertificate {
				return bare, nil
			}
			return nil, nil
		},
	}
}

// newCertificate makes a certificate and its key, in PEM.
func newCertificate(hosts []string) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(now.UnixNano()),
		Subject:               pkix.Name{CommonName: "rds-sim"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.AddDate(10, 0, 0),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
		DNSNames:              []string{"localhost", "rds-sim"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil && !ip.IsUnspecified() {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else if ip == nil && host != "" {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), nil
}
