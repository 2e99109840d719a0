//! The XML reader and writer beside libxml2, which is what real clusters read with.

use std::io::Write as _;
use std::process::{Command, Stdio};

use pacelet::xml::{Document, Writer};

/// libxml2's own tool; `None`, said and counted, where it is not installed.
fn xmllint(arguments: &[&str], input: &[u8]) -> Option<std::process::Output> {
    let child = Command::new("xmllint")
        .args(arguments)
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: no xmllint: apt-get install libxml2-utils");
            return None;
        }
        Err(error) => panic!("cannot run xmllint: {error}"),
    };
    // It reads everything before it writes anything. A parser that gives up early closes the pipe.
    let _ = child.stdin.take().expect("the pipe asked for").write_all(input);
    Some(child.wait_with_output().expect("xmllint's output"))
}

/// Values written by us, read by libxml2, written by it in canonical form, and read by us again.
#[test]
fn libxml2_reads_the_values_that_were_written() {
    let characters: Vec<char> = (0..=0x10FFFF).filter_map(char::from_u32).collect();
    let mut values: Vec<String> = characters.chunks(5000).map(|some| some.iter().collect()).collect();
    values
        .extend(["", " ", " a  b ", "\t\n\r\r\n", "]]>", "&amp;", "&#x0A;", "'\"", "--"].map(str::to_owned));
    let mut out = Vec::new();
    let mut root = Writer::new(&mut out, "r");
    for value in &values {
        root.child("e").attribute("v", value).output("o", value.as_bytes());
    }
    drop(root);
    let Some(output) = xmllint(&["--c14n"], &out) else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let document = Document::parse(&output.stdout).expect("libxml2's output is well-formed");
    let read: Vec<_> = document.root().children().collect();
    assert_eq!(read.len(), values.len());
    let legal = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{FFFD}' | '\u{10000}'..);
    for (element, value) in read.iter().zip(&values) {
        let clean: String = value.chars().map(|c| if legal(c) { c } else { '?' }).collect();
        assert!(element.attribute("v").as_deref() == Some(&clean), "{:?}", &clean.get(..40));
        assert!(element.attribute("o").as_deref() == Some(&clean), "{:?}", &clean.get(..40));
    }
}

/// Where the two differ, the reader here is the stricter one: declarations and instructions.
#[test]
fn libxml2_takes_and_refuses_the_same() {
    let deep = "<a>".repeat(pacelet::xml::DEPTH_LIMIT) + &"</a>".repeat(pacelet::xml::DEPTH_LIMIT);
    let long = format!("<a b='&lt;{}'/>", "x".repeat(pacelet::xml::VALUE_LIMIT - 4));
    let name = format!("<{}/>", "n".repeat(pacelet::xml::NAME_LIMIT));
    let taken = [
        "<a/>",
        " <!--c--><a/> ",
        "\u{FEFF}<?xml version='1.0' encoding='UTF-8' standalone='yes'?><a/>",
        "<a b='&#65;&#x10FFFF;&lt;&gt;&amp;&quot;&apos;' c=\"'\"/>",
        "<a ><b/><b></b ><![CDATA[<]]>&amp;\u{85}</a\n>",
        "<\u{FC}-1.2_x/>",
        "<a b=']]>'/>",
        &deep,
        &name,
    ];
    let refused = [
        "",
        "<a>",
        "</a>",
        "<a></b>",
        "<a/><b/>",
        "<a/>x",
        "<a b='1' b='2'/>",
        "<a b='1'c='2'/>",
        "<a b=1/>",
        "<a b/>",
        "<a b='<'/>",
        "<a b='&'/>",
        "<a b='&x;'/>",
        "<a b='&#0;'/>",
        "<a b='&#x1B;'/>",
        "<a b='&#xD800;'/>",
        "<a b='&#xFFFE;'/>",
        "<a b='&#x110000;'/>",
        "<a b='&#X41;'/>",
        "<a b='\u{FFFF}'/>",
        "<a b='\x1B'/>",
        "<a>\x01</a>",
        "<a>]]></a>",
        "<a><!-- -- --></a>",
        "<a><!DOCTYPE b></a>",
        "<a><?xml version='1.0'?></a>",
        " <?xml version='1.0'?><a/>",
        "<1/>",
        "<-a/>",
        "<a / >",
    ];
    for (texts, good) in [(&taken[..], true), (&refused[..], false)] {
        for text in texts {
            let shown: String = text.chars().take(60).collect();
            assert_eq!(Document::parse(text.as_bytes()).is_ok(), good, "pacelet: {shown:?}");
            let Some(output) = xmllint(&["--noout"], text.as_bytes()) else { return };
            assert_eq!(output.status.success(), good, "libxml2: {shown:?}");
        }
    }
    // xmllint reads from a stream, where libxml2 wants values to be shorter; a cluster reads from memory.
    assert!(Document::parse(long.as_bytes()).is_ok());
}
