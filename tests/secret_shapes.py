# SPDX-License-Identifier: Apache-2.0
"""Secrets in twenty shapes, as arguments and as paths, command lines that only look alike, and where a collector may have left bytes."""
from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import zstandard

import tapio_fast as tapio

WORDS = string.ascii_letters + string.digits
UPPER = string.ascii_uppercase + string.digits


class Planted(NamedTuple):
    """Arguments that hold a secret, in texts that must be found nowhere, and what must still be there."""

    argv: list[str]
    secrets: list[str]
    keep: str


def word(rng: random.Random, n: int = 24, of: str = WORDS) -> str:
    return "".join(rng.choice(of) for _ in range(n))


def odd(rng: random.Random) -> str:
    """A password with what shells, URLs and JSON mean something by; as an argument of its own it means nothing."""
    return word(rng, 8) + word(rng, 6, "&;|<>()$ '\"\\!%,=:/?#@") + word(rng, 8)


def jwt(rng: random.Random) -> str:
    return ".".join(("eyJ" + word(rng, 20), "eyJ" + word(rng, 40), word(rng, 43)))


def basic(rng: random.Random) -> str:
    return base64.b64encode(f"bob:{word(rng)}".encode()).decode()


def pem(rng: random.Random) -> list[str]:
    return [word(rng, 64) for _ in range(4)]


def planted(name: str, make: Callable[[random.Random], str], *argv: str) -> Callable[[random.Random, str], Planted]:
    def plant(rng: random.Random, keep: str) -> Planted:
        secret = make(rng)
        return Planted([name, *(part.replace("{}", secret) for part in argv), keep], [secret], keep)
    return plant


def key_file(rng: random.Random, keep: str) -> Planted:
    lines = pem(rng)
    return Planted(["import-key", "-----BEGIN RSA PRIVATE KEY-----\n" + "\n".join(lines) + "\n-----END RSA PRIVATE KEY-----\n", keep], lines, keep)


def in_json(rng: random.Random, keep: str) -> Planted:
    secret = word(rng, 8) + ' "\\,}' + word(rng, 8)
    text = json.dumps({"user": "bob", "client_secret": secret, "id": keep})
    return Planted(["curl", "-d", text, "http://example.org/login"], [secret, secret[:8], secret[-8:]], keep)


ARGUMENTS: dict[str, Callable[[random.Random, str], Planted]] = {
    "option=": planted("server", odd, "--password={}"),
    "option": planted("server", odd, "--db-passwd", "{}"),
    "mysql -p": planted("/usr/bin/mysql", odd, "-uroot", "-p{}", "db"),
    "environment": planted("env", odd, "PGPASSWORD={}", "psql"),
    "url": planted("git", word, "clone", "https://bob:{}@example.org/x.git"),
    "url of a database": planted("migrate", lambda r: word(r, 8) + "@" + word(r, 8), "--database", "postgres://app:{}@db:5432/x"),
    "bearer": planted("curl", word, "-H", "Authorization: Bearer {}", "https://example.org"),
    "basic": planted("curl", basic, "-H", "authorization: Basic {}", "https://example.org"),
    "query": planted("wget", word, "https://example.org/x?access_token={}&page=2"),
    "aws": planted("aws", lambda r: "AKIA" + word(r, 16, UPPER), "configure", "set", "id", "{}"),
    "github": planted("gh", lambda r: "ghp_" + word(r, 36), "auth", "login", "{}"),
    "slack": planted("notify", lambda r: f"xoxb-{word(r, 12, string.digits)}-{word(r, 24)}", "--to", "{}"),
    "jwt": planted("call", jwt, "{}"),
    "private key": key_file,
    "shell": planted("sh", word, "-c", "export API_KEY='{}'; run --fast"),
    "json": in_json,
    "sshpass": planted("sshpass", odd, "-p", "{}", "ssh", "-p", "22", "host"),
    "user:": planted("curl", word, "-u", "bob:{}", "https://example.org"),
    "header": planted("curl", lambda r: word(r) + " " + word(r), "-H", "X-Api-Key: {}", "https://example.org"),
    "connection string": planted("dotnet", word, "run", "Server=db;User=app;Password={};Encrypt=true"),
}
# what a file may be called; the secret is in {}
PATHS: dict[str, tuple[str, Callable[[random.Random], str]]] = {
    "name=": ("token={}.txt", word), "aws": ("{}.csv", lambda r: "AKIA" + word(r, 16, UPPER)), "github": ("{}", lambda r: "ghp_" + word(r, 36)),
    "jwt": ("{}", jwt), "query": ("wget?api_key={}&x=1", word), "slack": ("{}.log", lambda r: f"xoxp-{word(r, 12, string.digits)}-{word(r, 24)}"),
    "user:": ("http:..bob:{}", lambda r: "password=" + word(r)), "hash": ("{}", lambda r: "$6$" + word(r, 8) + "$" + word(r, 40)),
}

BENIGN = [line.split() for line in """\
ls -la /etc/passwd
passwd root
getent passwd bob
vim /etc/passwd /etc/shadow
docker run -v /etc/passwd:/etc/passwd:ro alpine
docker run -p 8080:80 --name web nginx
docker run --secret db_password alpine
ssh -p 2222 bob@example.org
scp -P 2222 x bob@example.org:/tmp
mkdir -p /srv/app/tokens
cp -p a b
nmap -p1-1024 10.0.0.1
mysql -u root -p shop
mysqldump --single-transaction -uroot -p shop
mysql -P3306 -h db
psql --no-password -h db shop
psql -U app -W shop
ansible-playbook --ask-pass site.yml
kubectl get secrets -n prod
kubectl create token default
kube-apiserver --authorization-mode=Node,RBAC --token-auth-file=/etc/tokens
vault token lookup
gpg --batch --passphrase-file /run/key --decrypt x.gpg
openssl rand -hex 32
openssl req -new -key /etc/ssl/private/x.key -passin env:KEYPASS
ssh-keygen -t ed25519 -f /root/.ssh/id_ed25519
git commit -m fix-token-parsing
git checkout 0123456789abcdef0123456789abcdef01234567
git clone git@github.com:example/repo.git
git clone https://bob@github.com/example/repo.git
curl https://example.org/login?user=bob&page=2
curl --cookie-jar /tmp/jar http://example.org:8080/a@b
curl -o out http://10.0.0.1:9090/api/v1/query
npm config get registry http://localhost:4873/
sha256sum /usr/bin/passwd
grep -rn password= /etc
grep -i secret app.log
find / -name *.key -size +1k
make -j8 KEYBOARD=us MONKEY=1
python3 train.py --max_tokens=4096 --tokenizer=bpe --sort-key=size
env PWD=/root OLDPWD=/tmp HOME=/root bash
java -Djavax.net.ssl.trustStore=/etc/keystore -jar app.jar
systemctl restart systemd-ask-password-wall
tar -xpf backup.tar -C /
rsync -ap /srv/ backup:/srv/
echo 550e8400-e29b-41d4-a716-446655440000
htop -p 1,2,3
service --credentials=/etc/app/credentials.json --private-key=/etc/app/key.pem
""".splitlines()] + [["sh", "-c", "mysql --password=$DB_PASSWORD -e 'select 1'"], ["sh", "-c", "curl -u bob:${PASS} http://example.org"],
                     ["sh", "-c", "PASSWORD=$(cat /run/secret) run"], ["bash", "-c", "for key in a b; do echo $key: done; done"]]


def seeded(seed: int, rounds: int) -> list[tuple[str, Planted]]:
    """Plant `rounds` secrets of each shape."""
    rng = random.Random(seed)
    return [(shape, plant(rng, f"keep-{i}-{n}")) for i in range(rounds) for n, (shape, plant) in enumerate(ARGUMENTS.items())]


def names(seed: int, rounds: int) -> list[tuple[str, str]]:
    """Return (name of a file, the secret in it)."""
    rng = random.Random(seed)
    found = []
    for _ in range(rounds):
        for form, make in PATHS.values():
            secret = make(rng)
            found.append((form.replace("{}", secret), secret))
    return found


def bytes_of(batch: tapio.RecordBatch) -> bytes:
    """All bytes of a batch: rows, and whole text areas with what nothing points to any more."""
    core = batch._core
    return b"".join(bytes(part) for d in core.counts() for part in (core.rows(d), core.text(d)) if part is not None)


def bytes_of_store(path: Path) -> bytes:
    """All bytes of a store's files, and what every zstd frame in them holds, by the zstandard package."""
    found = []
    for file in sorted(path.rglob("*")):
        if not file.is_file():
            continue
        data = file.read_bytes()
        found.append(data)
        at = data.find(b"\x28\xb5\x2f\xfd")
        while at >= 0:
            try:
                found.append(zstandard.ZstdDecompressor().decompressobj().decompress(data[at:]))
            except zstandard.ZstdError:
                pass        # these four bytes were no frame
            at = data.find(b"\x28\xb5\x2f\xfd", at + 1)
    return b"\n".join(found)
