// Copyright The rds-csi Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/util/cert"
)

// tokens are what the parts of the control plane, and the administrator, log in with.
type tokens struct{ admin, controllers, scheduler string }

// writeSecrets makes the API server's certificate, the key of service accounts' tokens, and the tokens of everyone
// else. The API server would make a certificate itself, but nobody could tell when it has written all of it.
func (c *ControlPlane) writeSecrets() error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return fmt.Errorf("make the key of service accounts: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return fmt.Errorf("make the key of service accounts: %w", err)
	}
	certificate, serverKey, err := cert.GenerateSelfSignedCertKey(c.cfg.Host, nil, nil)
	if err != nil {
		return fmt.Errorf("make the API server's certificate: %w", err)
	}
	c.tokens = tokens{admin: rand.Text(), controllers: rand.Text(), scheduler: rand.Text()}
	for name, content := range map[string][]byte{
		"apiserver.crt": certificate, "apiserver.key": serverKey,
		"sa.key": pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}),
		"sa.pub": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}),
		"tokens.csv": fmt.Appendf(nil, "%s,admin,1,system:masters\n%s,system:kube-controller-manager,2\n%s,system:kube-scheduler,3\n",
			c.tokens.admin, c.tokens.controllers, c.tokens.scheduler),
	} {
		if err := os.WriteFile(filepath.Join(c.dir("pki"), name), content, 0o600); err != nil {
			return fmt.Errorf("write the control plane's secrets: %w", err)
		}
	}
	return nil
}

// config returns access with a token.
func (c *ControlPlane) config(token string) *rest.Config {
	return &rest.Config{
		Host: "https://" + c.address(apiserverPort), BearerToken: token,
		TLSClientConfig: rest.TLSClientConfig{CAFile: c.dir("pki/apiserver.crt")},
	}
}

func (c *ControlPlane) writeKubeconfigs() error {
	for name, token := range map[string]string{
		"admin": c.tokens.admin, "controllers": c.tokens.controllers, "scheduler": c.tokens.scheduler,
	} {
		if err := c.writeKubeconfig(c.dir("pki/"+name), token); err != nil {
			return err
		}
	}
	return nil
}

func (c *ControlPlane) writeKubeconfig(path, token string) error {
	cfg := api.NewConfig()
	cfg.Clusters["e2e"] = &api.Cluster{Server: "https://" + c.address(apiserverPort), CertificateAuthority: c.dir("pki/apiserver.crt")}
	cfg.AuthInfos["e2e"] = &api.AuthInfo{Token: token}
	cfg.Contexts["e2e"] = &api.Context{Cluster: "e2e", AuthInfo: "e2e"}
	cfg.CurrentContext = "e2e"
	if err := clientcmd.WriteToFile(*cfg, path); err != nil {
		return fmt.Errorf("write a kubeconfig: %w", err)
	}
	return nil
}

// Kubeconfig writes the access of a service account, which must exist, to a file.
func (c *ControlPlane) Kubeconfig(ctx context.Context, namespace, account, path string) error {
	const day = int64(24 * 60 * 60)
	seconds := day
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	token, err := c.client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, account, request, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("get a token of service account %s/%s: %w", namespace, account, err)
	}
	return c.writeKubeconfig(path, token.Status.Token)
}

// awaitControllers waits for the controllers, which make each namespace's default service account, and
// for the scheduler.
func (c *ControlPlane) awaitControllers(ctx context.Context) error {
	if err := c.controllers.Await(ctx, func(ctx context.Context) error {
		_, err := c.client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		return err
	}); err != nil {
		return err
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // it is asked for its health alone, on a loopback address
	defer transport.CloseIdleConnections()
	return c.scheduler.Await(ctx, func(ctx context.Context) error {
		return healthy(ctx, &http.Client{Transport: transport}, "https://"+c.address(schedulerPort)+"/readyz")
	})
}

func healthy(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("ask %s: %w", url, err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ask %s: %w", url, err)
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("ask %s: %s", url, resp.Status)
	}
	return nil
}
