"""Makes keys and tokens with PyJWT, an implementation that shares no code with the server.

Usage: make.py DIRECTORY. Writes key files to DIRECTORY, and prints the tokens as one JSON object.
"""

import base64
import hashlib
import hmac
import json
import os
import pathlib
import sys
import time

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

home = pathlib.Path(sys.argv[1])
now = int(time.time())


def write(name, data, mode=0o644):
    path = home / name
    path.write_bytes(data)
    os.chmod(path, mode)


def public_pem(key):
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value, length):
    return base64url(value.to_bytes(length, "big"))


secret = b"the secret of the back end, 32 bytes and more"
keys = {
    "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
others = {
    "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
write("secret", secret + b"\n", 0o600)
for algorithm, key in keys.items():
    write(f"{algorithm}.pem", public_pem(key))
rsa_numbers = keys["RS256"].public_key().public_numbers()
ec_numbers = keys["ES256"].public_key().public_numbers()
ed_bytes = keys["EdDSA"].public_key().public_bytes(
    serialization.Encoding.Raw, serialization.PublicFormat.Raw
)
key_set = {
    "keys": [
        {
            "kty": "RSA",
            "kid": "RS256",
            "use": "sig",
            "alg": "RS256",
            "n": number(rsa_numbers.n, 256),
            "e": number(rsa_numbers.e, 3),
        },
        {
            "kty": "EC",
            "kid": "ES256",
            "crv": "P-256",
            "x": number(ec_numbers.x, 32),
            "y": number(ec_numbers.y, 32),
        },
        {"kty": "OKP", "kid": "EdDSA", "crv": "Ed25519", "x": base64url(ed_bytes)},
    ]
}
write("set.json", json.dumps(key_set).encode())


def claims(**changes):
    made = {"sub": "42", "channel": "main/talk", "iat": now, "exp": now + 3600, **changes}
    return {name: value for name, value in made.items() if value is not None}


def token(algorithm="HS256", key=None, kid=None, **changes):
    key = key or (secret if algorithm == "HS256" else keys[algorithm])
    headers = {"kid": kid} if kid else None
    return jwt.encode(claims(**changes), key, algorithm=algorithm, headers=headers)


def forged(public_key):
    """Signed by HS256 with a public key as the secret, which PyJWT refuses to do."""
    header = base64url(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    message = f"{header}.{base64url(json.dumps(claims()).encode())}".encode()
    return f"{message.decode()}.{base64url(hmac.new(public_key, message, hashlib.sha256).digest())}"


tokens = {
    "good": token(),
    "expired": token(exp=now - 60),
    "expired_connection": token(expire_at=now - 60),
    "wrong_room": token(channel="main/other"),
    "wrong_party": token(channel="other/talk"),
    "wrong_key": token(key=b"another secret of the same length, which is not it"),
    "none": jwt.encode(claims(), None, algorithm="none"),
    "not_yet": token(nbf=now + 3600),
    "made_later": token(iat=now + 3600),
    "barely_ahead": token(iat=now + 2, nbf=now + 2),
    "endless": token(exp=None),
    "endless_connection": token(expire_at=0),
    "float": token(exp=time.time() + 3600.5),
    "watch": token(caps=["watch"]),
    "react": token(caps=["react"]),
    "moderate": token(caps=["moderate"]),
    "nothing": token(caps=[]),
    "unknown_cap": token(caps=["fly", "watch"]),
    "prefix": token(channel="main/t*"),
    "other_prefix": token(channel="main/x*"),
    "party": token(channel="main/*"),
    "no_channel": token(channel=None),
    "audience": token(aud="ovation"),
    "audiences": token(aud=["other", "ovation"]),
    "other_audience": token(aud="other"),
    "issuer": token(iss="https://a.example"),
    "HS512": jwt.encode(claims(), secret, algorithm="HS512"),
}
for algorithm in keys:
    tokens[algorithm] = token(algorithm)
    tokens[f"{algorithm}_kid"] = token(algorithm, kid=algorithm)
    tokens[f"{algorithm}_other_kid"] = token(algorithm, kid="another")
    tokens[f"{algorithm}_other_key"] = token(algorithm, key=others[algorithm])
    tokens[f"{algorithm}_other_key_kid"] = token(algorithm, key=others[algorithm], kid=algorithm)
    tokens[f"{algorithm}_forged"] = forged((home / f"{algorithm}.pem").read_bytes())
tokens["RS384"] = jwt.encode(claims(), keys["RS256"], algorithm="RS384")
tokens["PS256"] = jwt.encode(claims(), keys["RS256"], algorithm="PS256")
print(json.dumps(tokens))
