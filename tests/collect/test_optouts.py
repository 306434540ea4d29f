"""Every way in which an owner can say no is honoured, recorded with its reason, and also when it is said afterwards."""

from __future__ import annotations

import datetime
import io
import json
import zipfile

import pytest

from genus.collect import collect, optouts

PROHIBITED = "http://ns.useplus.org/ldf/vocab/DMI-PROHIBITED-GENAIMLTRAINING"


def xmp(body: str) -> bytes:
    return (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        'xmlns:plus="http://ns.useplus.org/ldf/xmp/1.0/" xmlns:tdm="http://www.w3.org/ns/tdmrep#">'
        f'{body}</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def refused(got: dict[str, dict[str, object]]) -> dict[str, object]:
    out = {name: row for name, row in got.items() if row["status"] == "refused"}
    assert all(row["content"] is None and row["consent"] == "opted-out" for row in out.values())
    return {name: row["reason"] for name, row in out.items()}


def test_an_empty_nogenus_closes_the_folder_and_all_below(fill, rows):
    got = rows(fill({"a.txt": "1", "p/.nogenus": "", "p/b.txt": "2", "p/q/c.txt": "3", "p/d.zip": b"PK\3\4"}))
    assert refused(got) == dict.fromkeys(("p/b.txt", "p/d.zip", "p/q/c.txt"), "nogenus")
    assert got["a.txt"]["status"] == "kept"


def test_nogenus_with_patterns(fill, rows):
    patterns = "# mine\n*.log\nletters\n/sub/only.txt\n"
    files = ["a.log", "a.txt", "sub/b.log", "sub/only.txt", "only.txt", "sub/letters/x.txt", "letters.txt"]
    got = rows(fill({".nogenus": patterns, **{name: f"words in {name}" for name in files}}))
    assert set(refused(got)) == {"a.log", "sub/b.log", "sub/only.txt", "sub/letters/x.txt"}


def test_nogenus_above_the_source_holds(fill, rows, tmp_path):
    root = fill({".nogenus": "deep/private\n", "deep/private/a.txt": "1", "deep/open.txt": "2"})
    with pytest.raises(Exception, match="1 nogenus"):
        rows(root / "deep" / "private", "one")
    assert set(refused(rows(root / "deep", "two"))) == {"private/a.txt"}


def test_patterns_reach_into_archives(fill, rows):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("x/secret.txt", "s")
        archive.writestr("open.txt", "o")
    got = rows(fill({".nogenus": "secret*\n", "a.zip": out.getvalue()}))
    assert refused(got) == {"a.zip!x/secret.txt": "nogenus"}


@pytest.mark.parametrize("where", ["tdmrep.json", ".well-known/tdmrep.json"])
def test_tdm_reservation_files(fill, rows, where):
    said = [
        {"location": "/", "tdm-reservation": 0},
        {"location": "/closed/*", "tdm-reservation": 1, "tdm-policy": "https://example.org/policy"},
        {"location": "/closed/open/", "tdm-reservation": 0},
        {"location": "/*.md$", "tdm-reservation": 1},
    ]
    files = {name: f"words in {name}" for name in ("a.txt", "b.md", "b.mdx", "closed/c.txt", "closed/open/d.txt")}
    got = rows(fill({where: json.dumps(said), **files}))
    assert refused(got) == dict.fromkeys(("b.md", "closed/c.txt"), "tdm reservation")
    assert len(got) == 5


def test_a_tdm_file_that_cannot_be_read_reserves_everything(fill, rows):
    got = rows(fill({"a.txt": "1", "sub/tdmrep.json": "{broken", "sub/b.txt": "2"}))
    assert refused(got) == {"sub/b.txt": "tdm reservation"}


def test_pages_that_reserve_themselves(fill, rows):
    page = '<html><head><meta name="tdm-reservation" content="{}"></head><body><p>x</p></body></html>'
    got = rows(fill({"no.html": page.format(1), "yes.html": page.format(0)}))
    assert refused(got) == {"no.html": "tdm reservation"}


def test_a_page_may_reserve_itself_behind_a_long_style(fill, rows):
    page = "<html><head><style>{}</style><meta name='tdm-reservation' content='1'></head><body>x</body></html>"
    got = rows(fill({"no.html": page.format("p {margin: 0}\n" * 4000), "a.txt": "words"}))
    assert refused(got) == {"no.html": "tdm reservation"}


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_iptc_data_mining_fields(fill, rows, png, form):
    no = xmp(f"<plus:DataMining>{PROHIBITED}</plus:DataMining>")
    yes = xmp("<plus:DataMining>http://ns.useplus.org/ldf/vocab/DMI-ALLOWED</plus:DataMining>")
    options = {"xmp": no} if form in ("JPEG", "WEBP", "AVIF") else {"tiffinfo": {700: no}} if form == "TIFF" else {}
    allowed = {"xmp": yes} if form in ("JPEG", "WEBP", "AVIF") else {"tiffinfo": {700: yes}} if form == "TIFF" else {}
    if form == "PNG":
        options, allowed = {"pnginfo": png_info(no, packed=False)}, {"pnginfo": png_info(yes, packed=False)}
    got = rows(fill({"no": png(1, form, **options), "yes": png(2, form, **allowed), "plain": png(3, form)}))
    assert refused(got) == {"no": "iptc data mining"}


def png_info(data: bytes, packed: bool) -> object:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", data.decode(), zip=packed)
    return info


def test_compressed_xmp_and_xmp_beside_the_image(fill, rows, png):
    no = xmp(f"<plus:DataMining>{PROHIBITED}</plus:DataMining>")
    files = {
        "packed.png": png(1, pnginfo=png_info(no, packed=True)),
        "beside.png": png(2),
        "beside.xmp": no,
        "double.png": png(3),
        "double.png.xmp": xmp("<tdm:reservation>1</tdm:reservation>"),
        "free.png": png(4),
        "camera.png": png(5),
        "camera.XMP": no,
    }
    got = rows(fill(files))
    assert refused(got) == {
        "camera.png": "iptc data mining",
        "packed.png": "iptc data mining",
        "beside.png": "iptc data mining",
        "double.png": "tdm reservation",
    }
    assert got["free.png"]["status"] == "kept"


def test_a_column_can_withhold_consent(fill, rows):
    got = rows(
        fill({"t.jsonl": '{"text": "x", "consent": "opted-out"}\n{"text": "y", "consent": true}\n'}), consent="granted"
    )
    assert refused(got) == {"t.jsonl#0": "consent"}
    assert got["t.jsonl#1"]["consent"] == "granted"


@pytest.fixture(scope="module")
def sign():
    """sign(image, mime, label, entries) -> the image with content credentials that hold this assertion."""
    x509 = pytest.importorskip("cryptography.x509")
    import c2pa
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def named(name: str) -> object:
        oid = x509.oid.NameOID
        return x509.Name([x509.NameAttribute(oid.COMMON_NAME, name), x509.NameAttribute(oid.ORGANIZATION_NAME, "test")])

    def certificate(name: str, key: object, authority: bool) -> object:
        # In order: digital_signature, four others, key_cert_sign, crl_sign, two others.
        usage = [not authority, False, False, False, False, authority, authority, False, False]
        made = (
            x509.CertificateBuilder()
            .subject_name(named(name))
            .issuer_name(named("authority"))
            .public_key(key.public_key())
            .serial_number(1 + authority)
            .not_valid_before(datetime.datetime(2024, 1, 1))
            .not_valid_after(datetime.datetime(2124, 1, 1))
            .add_extension(x509.BasicConstraints(authority, None), True)
            .add_extension(x509.KeyUsage(*usage), True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        )
        if not authority:
            made = made.add_extension(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
        return made.sign(root, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    root, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    chain = certificate("signer", own, False) + certificate("authority", root, True)
    plain = serialization.NoEncryption()
    secret = own.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)

    def make(image: bytes, mime: str, label: str, entries: dict[str, object]) -> bytes:
        signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo("es256", chain, secret, None))
        created = {
            "action": "c2pa.created",
            "digitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture",
        }
        manifest = {
            "claim_generator_info": [{"name": "test", "version": "1"}],
            "title": "picture",
            "assertions": [
                {"label": "c2pa.actions", "data": {"actions": [created]}},
                {"label": label, "data": {"entries": entries}},
            ],
        }
        out = io.BytesIO()
        with c2pa.Builder(manifest) as builder:
            builder.sign(signer, mime, io.BytesIO(image), out)
        return out.getvalue()

    return make


def test_content_credentials(fill, rows, png, sign):
    def use(prefix: str, **entries: str) -> tuple[str, dict[str, object]]:
        return f"{prefix}.training-mining", {f"{prefix}.{name}": {"use": value} for name, value in entries.items()}

    cases = {
        "c2pa.png": use("c2pa", ai_generative_training="notAllowed", data_mining="allowed"),
        "cawg.png": use("cawg", ai_training="notAllowed"),
        "terms.png": use("cawg", data_mining="constrained"),
        "inference.png": use("cawg", ai_inference="notAllowed", ai_training="allowed"),
        "free.png": use("c2pa", ai_generative_training="allowed", data_mining="allowed"),
    }
    files = {name: sign(png(i), "image/png", *said) for i, (name, said) in enumerate(cases.items())}
    files["photo.jpg"] = sign(png(9, "JPEG"), "image/jpeg", *use("cawg", ai_generative_training="notAllowed"))
    got = rows(fill(files))
    assert refused(got) == dict.fromkeys(("c2pa.png", "cawg.png", "photo.jpg", "terms.png"), "c2pa training-mining")
    assert "cawg.ai_training notAllowed" in got["cawg.png"]["notes"]
    assert got["free.png"]["status"] == got["inference.png"]["status"] == "kept"


def test_damaged_credentials_that_say_no_still_say_no(png, sign):
    data = sign(png(1), "image/png", "cawg.training-mining", {"cawg.ai_training": {"use": "notAllowed"}})
    at = data.index(b"c2pa.claim")
    broken = data[: at - 60] + bytes(60) + data[at:]
    assert optouts.in_image(broken) is not None
    assert optouts.in_image(png(1) + b"c2pa cawg, mentioned in passing") is None


def test_an_owner_may_opt_out_afterwards(fill, rows, png, tmp_path):
    source = fill(
        {
            "a.txt": "kept",
            "b.txt": "withdrawn " * 4000,
            "c.png": png(1),
            "d.zip": zipped(),
            "t.jsonl": '{"text": "x"}\n',
        }
    )
    assert all(row["status"] == "kept" for row in rows(source).values())
    fill({".nogenus": "b.txt\nd.zip\n", "c.xmp": xmp(f"<plus:DataMining>{PROHIBITED}</plus:DataMining>")})
    got = rows(source)
    gone = {name for name, row in got.items() if row["status"] == "refused"}
    assert gone == {"b.txt", "b.txt#0", "b.txt#1", "b.txt#2", "c.png", "d.zip", "d.zip!x.txt"}
    assert set(refused(got)) == gone
    version = collect(source, tmp_path / "dataset").version
    assert collect(source, tmp_path / "dataset").version == version


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("x.txt", "inside")
    return out.getvalue()
