// Verifies DSSE envelopes by go-securesystemslib: `dsse PUBLIC-KEY KEYID`, one envelope in base64 per line of
// standard input, one line "accepted" or "refused: why" for each on standard output.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

const payloadType = "application/vnd.in-toto+json"

type verifier struct {
	key   crypto.PublicKey
	keyID string
}

func (v verifier) KeyID() (string, error)   { return v.keyID, nil }
func (v verifier) Public() crypto.PublicKey { return v.key }

func (v verifier) Verify(_ context.Context, data, signature []byte) error {
	valid := false
	switch key := v.key.(type) {
	case ed25519.PublicKey:
		valid = ed25519.Verify(key, data, signature)
	case *ecdsa.PublicKey:
		digest := sha256.Sum256(data)
		valid = ecdsa.VerifyASN1(key, digest[:], signature)
	}
	if !valid {
		return errors.New("the signature does not fit")
	}
	return nil
}

// The library reads an envelope as laxly as encoding/json and base64 do: a field name in capitals, other bits at the
// end of a base64 text. Who wants every byte to count compares with the one strict way to write what was read.
func strict(text []byte) (*dsse.Envelope, error) {
	envelope := &dsse.Envelope{}
	if err := json.Unmarshal(text, envelope); err != nil {
		return nil, err
	}
	payload, err := base64.StdEncoding.Strict().DecodeString(envelope.Payload)
	if err != nil {
		return nil, err
	}
	envelope.Payload = base64.StdEncoding.EncodeToString(payload)
	for i, each := range envelope.Signatures {
		signature, err := base64.StdEncoding.Strict().DecodeString(each.Sig)
		if err != nil {
			return nil, err
		}
		envelope.Signatures[i].Sig = base64.StdEncoding.EncodeToString(signature)
	}
	written := &bytes.Buffer{}
	encoder := json.NewEncoder(written)
	encoder.SetEscapeHTML(false)
	ordered := struct {
		Payload     string           `json:"payload"`
		PayloadType string           `json:"payloadType"`
		Signatures  []dsse.Signature `json:"signatures"`
	}{envelope.Payload, envelope.PayloadType, envelope.Signatures}
	if err := encoder.Encode(ordered); err != nil {
		return nil, err
	}
	if !bytes.Equal(bytes.TrimSuffix(written.Bytes(), []byte("\n")), text) {
		return nil, errors.New("not written the one way")
	}
	return envelope, nil
}

func verify(text []byte, with dsse.Verifier) error {
	envelope, err := strict(text)
	if err != nil {
		return err
	}
	if envelope.PayloadType != payloadType {
		return errors.New("another type of payload")
	}
	checker, err := dsse.NewEnvelopeVerifier(with)
	if err != nil {
		return err
	}
	_, err = checker.Verify(context.Background(), envelope)
	return err
}

func run(keyFile, keyID string) error {
	text, err := os.ReadFile(keyFile)
	if err != nil {
		return err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return errors.New("no PEM")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<24)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for lines.Scan() {
		envelope, err := base64.StdEncoding.DecodeString(lines.Text())
		if err == nil {
			err = verify(envelope, verifier{key, keyID})
		}
		if err != nil {
			fmt.Fprintln(out, "refused:", err)
		} else {
			fmt.Fprintln(out, "accepted")
		}
	}
	return lines.Err()
}

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
