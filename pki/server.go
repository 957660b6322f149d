package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// serverFile holds the server's certificate, the intermediate and the sealed key.
const serverFile = "server.pem"

// openServer loads the server certificate and replaces it where it is missing, unreadable, due or for other names.
// It is ours to remake at any time, so damage is no reason to stop; only a clock that is not trusted can be.
func (a *Authority) openServer() error {
	file := path.Join(a.opts.Dir, serverFile)
	raw, err := a.opts.FS.ReadFile(file)
	if err == nil {
		err = a.loadServer(raw)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.log.Warn("the server certificate cannot be used and is made anew", "file", file, "err", err)
	}
	err = a.renewServer()
	if a.server.Load() != nil && err != nil {
		a.log.Warn("the old server certificate stays in use", "err", err)
		return nil
	}
	return err
}

func (a *Authority) loadServer(raw []byte) error {
	certs, key, err := a.openSealedPEM(raw, useServer)
	if err != nil {
		return err
	}
	if len(certs) == 0 || !key.PublicKey.Equal(certs[0].PublicKey) {
		return errors.New("certificate and key do not belong together")
	}
	if err := certs[0].CheckSignatureFrom(a.inter); err != nil {
		return err
	}
	a.time.atLeast(certs[0].NotBefore)
	a.useServer(certs[0], key)
	return nil
}

func (a *Authority) useServer(cert *x509.Certificate, key *ecdsa.PrivateKey) {
	a.server.Store(&tls.Certificate{Certificate: [][]byte{cert.Raw, a.inter.Raw}, PrivateKey: key, Leaf: cert})
}

// renewServer issues a new server certificate if the present one is past two thirds of its life or lacks a name, and
// puts it to use at once.
func (a *Authority) renewServer() error {
	dns, addrs := serverNames(a.opts.ServerNames, a.opts.Addresses())
	if current := a.server.Load(); current != nil && serves(current.Leaf, dns, addrs) && a.time.now().Before(renewalTime(current.Leaf)) {
		return nil
	}
	now, err := a.time.issuing()
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: dns[0], Organization: []string{organizationName}},
		NotBefore:   now.Add(-backdate),
		NotAfter:    earlier(now.Add(serverLife), a.inter.NotAfter),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    dns,
	}
	for _, addr := range addrs {
		template.IPAddresses = append(template.IPAddresses, addr.AsSlice())
	}
	cert, err := sign(template, a.inter, &key.PublicKey, a.interKey)
	if err != nil {
		return err
	}
	text, err := a.sealedPEM(key, useServer, cert, a.inter)
	if err != nil {
		return err
	}
	file := path.Join(a.opts.Dir, serverFile)
	if err := a.opts.FS.WriteFile(file, text, 0o600); err != nil {
		return fmt.Errorf("write %q: %w", file, err)
	}
	a.useServer(cert, key)
	a.log.Info("new server certificate", "names", strings.Join(dns, " "), "addresses", fmt.Sprint(addrs), "until", cert.NotAfter)
	return nil
}

// renewalTime is when two thirds of a certificate's life are over.
func renewalTime(cert *x509.Certificate) time.Time {
	return cert.NotBefore.Add(cert.NotAfter.Sub(cert.NotBefore) / 3 * 2)
}

// serverNames returns the names and addresses that the server certificate must have: localhost, this host, its
// addresses and the configured ones; sorted, unique, at most 100 addresses.
func serverNames(configured []string, own []netip.Addr) (dns []string, addrs []netip.Addr) {
	dns = []string{"localhost"}
	addrs = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	if host, err := os.Hostname(); err == nil && checkDNSName(host) == nil {
		dns = append(dns, strings.ToLower(host))
	}
	for _, name := range configured {
		if addr, err := netip.ParseAddr(name); err == nil {
			addrs = append(addrs, addr.Unmap())
		} else {
			dns = append(dns, strings.ToLower(name))
		}
	}
	for _, addr := range own {
		addrs = append(addrs, addr.Unmap())
	}
	slices.Sort(dns[1:]) // localhost stays first: it is the common name
	slices.SortFunc(addrs, netip.Addr.Compare)
	addrs = slices.Compact(addrs)
	return slices.Compact(dns), addrs[:min(len(addrs), 100)]
}

// serves says whether cert has exactly these names and at least these addresses. An address that went away is no
// reason for a new certificate: links of containers come and go.
func serves(cert *x509.Certificate, dns []string, addrs []netip.Addr) bool {
	have := map[netip.Addr]bool{}
	for _, ip := range cert.IPAddresses {
		if addr, ok := netip.AddrFromSlice(ip); ok {
			have[addr.Unmap()] = true
		}
	}
	for _, addr := range addrs {
		if !have[addr] {
			return false
		}
	}
	return slices.Equal(cert.DNSNames, dns)
}

// interfaceAddresses returns the unicast addresses of this machine that are not link-local.
func interfaceAddresses() []netip.Addr {
	prefixes, err := net.InterfaceAddrs()
	if err != nil {
		return nil // the loopback addresses and the configured names remain
	}
	var addrs []netip.Addr
	for _, p := range prefixes {
		prefix, err := netip.ParsePrefix(p.String())
		if err == nil && (prefix.Addr().IsGlobalUnicast() || prefix.Addr().IsLoopback()) {
			addrs = append(addrs, prefix.Addr())
		}
	}
	return addrs
}

func checkServerNames(names []string) error {
	if len(names) > maxNames {
		return fmt.Errorf("%d server names are configured: at most %d fit into a certificate", len(names), maxNames)
	}
	for _, name := range names {
		if _, err := netip.ParseAddr(name); err == nil {
			continue
		}
		if err := checkDNSName(strings.TrimPrefix(name, "*.")); err != nil {
			return fmt.Errorf("server name %q: %w", name, err)
		}
	}
	return nil
}

// checkDNSName checks the form of a host name (RFC 1123 section 2.1; an underscore is let through).
func checkDNSName(name string) error {
	if name == "" || len(name) > 253 {
		return errors.New("a host name has 1 to 253 characters")
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return errors.New("each part of a host name has 1 to 63 characters and no hyphen at its ends")
		}
		for _, c := range []byte(label) {
			if c != '-' && c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
				return fmt.Errorf("%q does not belong into a host name", c)
			}
		}
	}
	return nil
}
