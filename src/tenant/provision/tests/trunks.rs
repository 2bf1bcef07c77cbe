//! Trunks and routes in a file: who may use which, and their bounds.

use super::{GOOD, problems, refused, refused_at};

#[test]
fn trunks_are_used_by_those_they_are_for() {
    let text = |trunk: &str| {
        let route = format!(
            "  name = \"other.test\"\n  [[account.route]]\n  domain = \"other.test\"\n  \
             prefix = \"+\"\n  trunk = \"{trunk}\" #!\n"
        );
        GOOD.replace("  name = \"other.test\"\n", &route)
    };
    let key = "account[1].route[0].trunk";
    refused_at(
        &text("carrier"),
        key,
        Some("\"carrier\""),
        "may not be used",
    );
    refused_at(&text("pbx"), key, Some("\"pbx\""), "is no trunk");
    assert_eq!(
        problems(&text("carrier").replace("accounts = [\"demo\"]\n", "")),
        []
    );
    let nobody = GOOD.replace("accounts = [\"demo\"]", "accounts = []");
    assert!(
        problems(&nobody)
            .iter()
            .any(|problem| problem.message.contains("names nobody"))
    );
    let accounts = "  name = \"pbx\"\n  accounts = [\"demo\"] #!\n";
    let own = GOOD.replace("  name = \"pbx\"\n", accounts);
    refused_at(
        &own,
        "account[0].trunk[0].accounts",
        None,
        "account's own trunk",
    );
    refused(
        "accounts = [\"demo\"]",
        "accounts = [\"demo\", \"nobody\"]",
        "trunk[0].accounts[1]",
        Some("\"nobody\""),
        "is no account",
    );
}

#[test]
fn own_trunk_comes_before_the_operators_of_the_same_name() {
    // The account's own trunk has no targets, the operator's has.
    let text = GOOD
        .replace("  name = \"pbx\"\n", "  name = \"carrier\"\n")
        .replace("from_trunk = \"pbx\"", "from_trunk = \"carrier\"")
        .replace("targets = [{ uri = \"sip:192.0.2.7\" }, ", "# ");
    let told = problems(&text);
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(
        told.iter()
            .all(|problem| problem.message.contains("has no targets"))
    );
}

#[test]
fn what_tables_can_not_honour_yet_is_refused() {
    for value in ["\"optional\"", "\"required\""] {
        let to = format!("secure = {value}");
        let key = "account[0].domain[0].secure";
        refused(
            "secure = \"off\"",
            &to,
            key,
            Some(value),
            "not supported yet",
        );
    }
    let key = "trunk[0].targets[0].uri";
    for (uri, says) in [
        ("sip:sbc.example.org", "DNS targets are not supported yet"),
        ("sips:127.0.0.1", "TLS"),
        ("sip:127.0.0.1;transport=tcp", "only \";transport=udp\""),
        ("tel:+1", "is no SIP URI"),
        ("127.0.0.1:5060", "is no SIP URI"),
        ("sip:user@127.0.0.1", "user part"),
        ("sip:2001:db8::1", "brackets"),
        ("sip:[2001:db8::x]", "no valid IPv6"),
        ("sip:0.0.0.0", "can not be sent to"),
        ("sip:127.0.0.1:0", "can not be sent to"),
        ("sip:224.0.0.1", "can not be sent to"),
    ] {
        let value = format!("\"{uri}\"");
        refused("\"sip:127.0.0.1:5090\"", &value, key, Some(&value), says);
    }
}

#[test]
fn trunks_have_bounds() {
    refused(
        "first_response_ms = 1500",
        "first_response_ms = 99",
        "account[0].trunk[0].first_response_ms",
        Some("99"),
        "100 to 32000",
    );
    refused(
        "failover_statuses = [503]",
        "failover_statuses = [503, 407]",
        "account[0].trunk[0].failover_statuses[1]",
        Some("407"),
        "400 to 599",
    );
    refused(
        "weight = 1 }",
        "weight = 0 }",
        "trunk[0].targets[0].weight",
        Some("0"),
        "1 to 65535",
    );
    let key = "trunk[0].sources[1]";
    for (source, says) in [
        ("[2001:db8::9]:0", "port 0"),
        ("127.0.0.1:5090", "in this list already"),
        ("127.0.0.1:x", "is no source"),
        ("sbc.example.org", "is no source"),
        ("0.0.0.0/0", "1 to 32"),
    ] {
        let value = format!("\"{source}\"");
        refused("\"[2001:db8::9]:5060\"", &value, key, Some(&value), says);
    }
    let empty = "[[trunk]] #!\nname = \"carrier\"\n";
    refused_at(empty, "trunk[0]", None, "neither targets nor sources");
    let twice = "targets = [{ uri = \"sip:127.0.0.1:5060\" }, { uri = \"sip:127.0.0.1\" }] #!";
    let text = format!("[[trunk]]\nname = \"carrier\"\n{twice}\n");
    refused_at(&text, "trunk[0].targets[1]", None, "in this list already");
    let targets: Vec<String> = (1..=33)
        .map(|n| format!("{{ uri = \"sip:192.0.2.{n}\" }}"))
        .collect();
    let text = format!(
        "[[trunk]]\nname = \"carrier\"\ntargets = [{}] #!\n",
        targets.join(", ")
    );
    refused_at(
        &text,
        "trunk[0].targets",
        None,
        "has 33 entries, allowed are 32",
    );
}

/// `GOOD` with other keys in its last route, which has a domain.
fn route(keys: &str) -> String {
    GOOD.replace("  number = \"operator\"\n  status = 480", keys)
}

#[test]
fn routes_lead_over_trunks_that_can_carry_them() {
    let key = "account[0].route[3].trunk";
    let text = route("  number = \"x\"\n  trunk = \"none\" #!");
    refused_at(&text, key, Some("\"none\""), "is no trunk");
    let text = route("  number = \"0\"\n  trunk = \"in\" #!");
    let text = format!("{text}[[trunk]]\nname = \"in\"\nsources = [\"203.0.113.1\"]\n");
    refused_at(&text, key, Some("\"in\""), "has no targets");
    let text = GOOD.replace("sources = [\"192.0.2.7\"]\n", "");
    let text = text.replace("from_trunk = \"pbx\"", "from_trunk = \"pbx\" #!");
    let key = "account[0].route[2].from_trunk";
    refused_at(&text, key, Some("\"pbx\""), "has no sources");
}

#[test]
fn routes_have_one_origin_one_number_and_one_destination() {
    let at = "account[0].route[3]";
    // What is missing is told at the table.
    for (keys, says) in [
        ("  status = 480", "names no number"),
        ("  number = \"1\"", "leads nowhere"),
        (
            "  number = \"1\"\n  status = 480\n  trunk = \"carrier\"",
            "several",
        ),
    ] {
        let header = "  [[account.route]]\n  domain = \"example.test\"\n";
        let marked = "  [[account.route]] #!\n  domain = \"example.test\"\n";
        let good = route(keys);
        let (before, last) = good.split_at(good.rfind(header).unwrap_or(0));
        refused_at(
            &format!("{before}{}", last.replacen(header, marked, 1)),
            at,
            None,
            says,
        );
    }
}

#[test]
fn keys_of_a_route_fit_each_other() {
    let at = "account[0].route[3]";
    for (keys, key, value, says) in [
        (
            "number = \"1\"\nprefix = \"2\" #!\nstatus = 480",
            "prefix",
            "\"2\"",
            "beside",
        ),
        (
            "number = \"1\"\nstatus = 200 #!",
            "status",
            "200",
            "400 to 699",
        ),
        (
            "number = \"\" #!\nstatus = 480",
            "number",
            "\"\"",
            "is empty",
        ),
        (
            "number = \"1\"\nstrip = 2 #!\ntrunk = \"carrier\"",
            "strip",
            "2",
            "1 characters",
        ),
        (
            "number = \"1\"\nstrip = 1 #!\nstatus = 480",
            "strip",
            "1",
            "goes nowhere",
        ),
        (
            "number = \"1\"\nprepend = \"2\" #!\nstatus = 480",
            "prepend",
            "\"2\"",
            "goes nowhere",
        ),
        (
            "number = \"a b\" #!\nstatus = 480",
            "number",
            "\"a b\"",
            "un-escaped",
        ),
        (
            "number = \"1\"\nkeep_number = true #!\nstatus = 480",
            "keep_number",
            "true",
            "beside",
        ),
        (
            "number = \"1\"\nfrom_trunk = \"pbx\" #!\nstatus = 480",
            "from_trunk",
            "\"pbx\"",
            "beside",
        ),
        (
            "prefix = \"+\" #!\nstatus = 480",
            "prefix",
            "\"+\"",
            "routed for this domain",
        ),
        ("prefix = \"(+)\" #!\nstatus = 480", "prefix", "\"(+)\"", ""),
    ] {
        if says.is_empty() {
            // Brackets around no digit are no number, so they stay and are another prefix.
            assert_eq!(problems(&route(keys)), []);
            continue;
        }
        refused_at(&route(keys), &format!("{at}.{key}"), Some(value), says);
    }
    let long = format!("\"{}\"", "1".repeat(65));
    let text = route(&format!("  prefix = {long} #!\n  status = 480"));
    refused_at(
        &text,
        &format!("{at}.prefix"),
        Some(&long),
        "allowed are 64",
    );
    let aor = "  aor = \"alice@example.test\"";
    refused(
        aor,
        "  aor = \"alice\"",
        "account[0].route[1].aor",
        Some("\"alice\""),
        "no user",
    );
}

#[test]
fn number_from_a_source_is_routed_once_over_all_accounts() {
    // The other account's trunk shares an address with the carrier; its number is written
    // otherwise but is the same.
    let text = |source: &str, number: &str| {
        let own = format!(
            "  name = \"other.test\"\n  [[account.trunk]]\n  name = \"mine\"\n  \
             sources = [{source}]\n  [[account.route]]\n  from_trunk = \"mine\"\n  {number} #!\n  \
             aor = \"a@other.test\"\n"
        );
        GOOD.replace("  name = \"other.test\"\n", &own)
    };
    let key = "account[1].route[0].number";
    let number = "number = \"+1.555.0100\"";
    for source in [
        "\"127.0.0.0/8\"",
        "\"127.0.0.1:5090\"",
        "\"::ffff:127.0.0.1\"",
        "\"2001::/16\"",
    ] {
        let says = "routed already from this trunk";
        refused_at(&text(source, number), key, Some("\"+1.555.0100\""), says);
    }
    for (source, number) in [
        ("\"127.0.0.1:5091\"", number),
        ("\"127.0.0.2\"", number),
        ("\"127.0.0.0/8\"", "number = \"+15550101\""),
        ("\"127.0.0.0/8\"", "prefix = \"+15550100\""),
    ] {
        assert_eq!(problems(&text(source, number)), [], "{source} {number}");
    }
    let twice = "from_trunk = \"carrier\"\n  number = \"+1(555)0100\" #!\n  status = 480";
    let text = GOOD.replace(
        "domain = \"example.test\"\n  number = \"operator\"\n  status = 480",
        twice,
    );
    refused_at(
        &text,
        "account[0].route[3].number",
        Some("\"+1(555)0100\""),
        "routed already",
    );
}
