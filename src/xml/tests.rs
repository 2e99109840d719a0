//! Known messages, malformed ones, and round trips.

use super::*;

fn refused(text: &str) -> (Kind, usize) {
    let error = Document::parse(text.as_bytes()).expect_err(text);
    (error.kind, error.offset)
}

fn written(name: &'static str, fill: impl FnOnce(&mut Writer<'_>)) -> String {
    let mut out = Vec::new();
    fill(&mut Writer::new(&mut out, name));
    String::from_utf8(out).expect("the writer writes UTF-8")
}

/// What an attribute's value is after it has been written and read.
fn there_and_back(value: &str) -> String {
    let text = written("a", |a| {
        a.attribute("v", value);
    });
    let document = Document::parse(text.as_bytes()).expect(&text);
    document.root().attribute("v").expect("the attribute").into_owned()
}

mod reading {
    use super::*;

    // As Pacemaker 3.0 sends it, shortened.
    const EXEC: &str = r#"<lrmd_command t="lrmd" lrmd_op="lrmd_rsc_exec" lrmd_timeout="10000" lrmd_callopt="4" lrmd_remote_msg_id="20" lrmd_remote_msg_type="request"><lrmd_calldata><lrmd_rsc lrmd_origin="lrmd_api_exec" lrmd_rsc_id="d1" lrmd_rsc_action="monitor" lrmd_rsc_interval="0" lrmd_timeout="10000"><attributes CRM_meta_on_node="r1" CRM_meta_timeout="10000" crm_feature_set="3.20.0"/></lrmd_rsc></lrmd_calldata></lrmd_command>"#;

    #[test]
    fn a_request_of_a_real_cluster() {
        let document = Document::parse(EXEC.as_bytes()).unwrap();
        let command = document.root();
        assert_eq!(document.depth(), 4);
        assert_eq!(command.name(), "lrmd_command");
        assert_eq!(command.attribute("lrmd_op").as_deref(), Some("lrmd_rsc_exec"));
        assert_eq!(command.attribute("lrmd_rsc_id"), None);
        assert_eq!(command.range(), 0..EXEC.len());

        let resource = command.descendant("lrmd_rsc").unwrap();
        assert_eq!(resource.attribute("lrmd_rsc_id").as_deref(), Some("d1"));
        let parameters: Vec<_> = resource
            .first_child()
            .unwrap()
            .attributes()
            .map(|attribute| (attribute.name, attribute.value().into_owned()))
            .collect();
        let expected =
            [("CRM_meta_on_node", "r1"), ("CRM_meta_timeout", "10000"), ("crm_feature_set", "3.20.0")];
        assert_eq!(parameters, expected.map(|(name, value)| (name, value.to_owned())));
        assert!(resource.source().starts_with("<lrmd_rsc lrmd_origin"));
        assert!(resource.source().ends_with("</lrmd_rsc>"));
    }

    #[test]
    fn children_are_those_directly_inside() {
        let text = "<a>x<b><d><b/></d></b><!--<no/>--><c/><![CDATA[<no/>]]><b  ></b\n></a>";
        let document = Document::parse(text.as_bytes()).unwrap();
        let children: Vec<_> =
            document.root().children().map(|child| (child.name(), child.source())).collect();
        assert_eq!(children, [("b", "<b><d><b/></d></b>"), ("c", "<c/>"), ("b", "<b  ></b\n>")]);
        assert_eq!(document.depth(), 4);
        assert_eq!(document.root().descendant("d").unwrap().source(), "<d><b/></d>");
        assert!(document.root().descendant("no").is_none());
        assert_eq!(document.root().descendant("a").unwrap().range(), 0..text.len());
    }

    #[test]
    fn a_search_does_not_leave_its_element() {
        let document = Document::parse(b"<a><b><c/></b><d/></a>").unwrap();
        let b = document.root().first_child().unwrap();
        assert!(b.descendant("d").is_none());
        assert_eq!(b.children().count(), 1);
        let c = b.first_child().unwrap();
        assert_eq!((c.children().count(), c.attributes().count()), (0, 0));
        assert!(c.first_child().is_none());
    }

    #[test]
    fn known_ends_are_the_true_ones() {
        // What the check remembers of the first elements must be what going over them gives.
        for text in [
            "<a/>",
            " <a><b><c><d/></c><c/></b><b/></a> ",
            "<a><b/><b><c/><c><d/></c></b></a>",
            "<a><b></b><!--x--><b><c></c></b></a>",
        ] {
            let document = Document::parse(text.as_bytes()).unwrap();
            let mut todo = vec![document.root()];
            while let Some(element) = todo.pop() {
                let again = Document::parse(element.source().as_bytes()).unwrap();
                assert_eq!(again.root().name(), element.name());
                assert_eq!(again.root().children().count(), element.children().count());
                todo.extend(element.children());
            }
        }
    }

    #[test]
    fn iterators_stay_at_their_end() {
        let document = Document::parse(b"<a x='1'><b y='2'/><b/></a>").unwrap();
        let mut attributes = document.root().attributes();
        assert_eq!(attributes.next().unwrap().name, "x");
        assert!(attributes.next().is_none() && attributes.next().is_none());
        let mut children = document.root().children();
        assert_eq!(children.by_ref().count(), 2);
        assert!(children.next().is_none());
    }

    #[test]
    fn values_are_decoded_and_normalised() {
        let text = "<a v='&lt;&gt;&amp;&quot;&apos;' w=\"&#65;&#x42;&#x0A;&#9;&#xD;\" x='a\tb\nc\r\nd\re' y='&#xFC;\u{1F600}&#x1F600;' z=''/>";
        let document = Document::parse(text.as_bytes()).unwrap();
        let value = |name| document.root().attribute(name).unwrap().into_owned();
        assert_eq!(value("v"), "<>&\"'");
        assert_eq!(value("w"), "AB\n\t\r");
        assert_eq!(value("x"), "a b c d e");
        assert_eq!(value("y"), "ü\u{1F600}\u{1F600}");
        assert_eq!(value("z"), "");
    }

    #[test]
    fn prefixes_belong_to_names() {
        let document = Document::parse(b"<p:a xml:id='1' :x='2'><:b/></p:a>").unwrap();
        assert_eq!(document.root().name(), "p:a");
        assert_eq!(document.root().attribute("xml:id").as_deref(), Some("1"));
        assert_eq!(document.root().attribute("id"), None);
        assert_eq!(document.root().attribute(":x").as_deref(), Some("2"));
        assert_eq!(document.root().first_child().unwrap().name(), ":b");
    }

    #[test]
    fn declaration_comments_and_white_space_may_surround_the_element() {
        for text in [
            "<?xml version=\"1.0\"?><a/>",
            "<?xml version='1.0' encoding='utf-8' standalone='yes'?>\n<!--x--> <a/> <!--y-->\n",
            "\u{FEFF}<a/>",
            " \t\r\n<a/>",
        ] {
            let document = Document::parse(text.as_bytes()).expect(text);
            assert_eq!(document.root().source(), "<a/>");
        }
    }
}

mod refusing {
    use super::*;

    #[test]
    fn what_may_not_precede_the_element() {
        assert_eq!(refused(""), (Kind::Empty, 0));
        assert_eq!(refused(" \n"), (Kind::Empty, 0));
        assert_eq!(refused("<!--x-->"), (Kind::Empty, 8));
        assert_eq!(refused("text<a/>").0, Kind::Malformed("markup"));
        assert_eq!(refused("</a>").0, Kind::Malformed("tag"));
        assert_eq!(refused("<![CDATA[x]]><a/>").0, Kind::Malformed("markup"));
        assert_eq!(refused(" <?xml version='1.0'?><a/>").0, Kind::Malformed("markup"));
        assert_eq!(refused("<?xml version='1.1'?><a/>").0, Kind::Declaration);
        assert_eq!(refused("<?xml version='1.0' encoding='latin1'?><a/>").0, Kind::Declaration);
        assert_eq!(refused("<?xml encoding='utf-8'?><a/>").0, Kind::Malformed("XML declaration"));
        assert_eq!(refused("<?pi?><a/>").0, Kind::Instruction);
        assert_eq!(refused("<!DOCTYPE a><a/>").0, Kind::Doctype);
        assert_eq!(refused("<!DOCTYPE a [<!ENTITY x 'y'>]><a b='&x;'/>").0, Kind::Doctype);
        assert_eq!(refused("<!-- -- --><a/>").0, Kind::Malformed("comment"));
    }

    #[test]
    fn what_may_not_be_inside() {
        assert_eq!(refused("<a><?xml version='1.0'?></a>"), (Kind::Malformed("markup"), 3));
        assert_eq!(refused("<a><?pi?></a>"), (Kind::Instruction, 3));
        assert_eq!(refused("<a><!DOCTYPE a></a>"), (Kind::Malformed("markup"), 3));
        assert_eq!(refused("<a><!-- -- --></a>"), (Kind::Malformed("comment"), 3));
        assert_eq!(refused("<a>]]></a>"), (Kind::Malformed("text"), 3));
        assert_eq!(refused("<a>\x01</a>"), (Kind::Malformed("text"), 3));
        assert_eq!(refused("<a>\0</a>"), (Kind::Malformed("text"), 3));
        assert_eq!(refused("<a><![CDATA[\u{FFFE}]]></a>"), (Kind::Malformed("CDATA section"), 3));
        assert_eq!(refused("<a></b>"), (Kind::Mismatch, 3));
        assert_eq!(refused("<a><b></a></b>"), (Kind::Mismatch, 6));
        assert_eq!(refused("<a:b></c:b>"), (Kind::Mismatch, 5));
        assert_eq!(refused("<1/>").0, Kind::Malformed("tag"));
    }

    #[test]
    fn what_is_no_attribute() {
        for text in [
            "<a b/>",
            "<a b=c/>",
            "<a b='<'/>",
            "<a b='1'c='2'/>",
            "<a b='\x1b'/>",
            "<a 1='x'/>",
            "<a b='x\" />",
            "<a / >",
            "<a/ >",
            "<a\0/>",
        ] {
            let (kind, _) = refused(text);
            assert!(matches!(kind, Kind::Malformed("attribute") | Kind::Unclosed), "{text:?}: {kind:?}");
        }
        assert_eq!(refused("<a b='1' c='2' b='3'/>"), (Kind::Duplicate, 15));
        assert_eq!(refused("<a><c b='1' b='3'></c></a>"), (Kind::Duplicate, 12));
    }

    #[test]
    fn what_is_no_reference() {
        for reference in [
            "&",
            "&;",
            "&x;",
            "&amp",
            "&#;",
            "&#x;",
            "&#0;",
            "&#x1B;",
            "&#xD800;",
            "&#xFFFE;",
            "&#x110000;",
            "&#X41;",
            "&#+65;",
            "&#x+41;",
            "&#-1;",
            "&#99999999999;",
            "& amp;",
            "&LT;",
        ] {
            assert_eq!(refused(&format!("<a b='x{reference}'/>")), (Kind::Reference, 7), "{reference}");
            assert_eq!(refused(&format!("<a>x{reference}</a>")), (Kind::Reference, 4), "{reference}");
        }
    }

    #[test]
    fn what_may_not_follow() {
        for rest in ["<b/>", "x", "</a>", "\0", "<![CDATA[]]>", "&amp;", "<?pi?>", "<!DOCTYPE a>", "<"] {
            assert_eq!(refused(&format!("<a/>{rest}")), (Kind::Trailing, 4), "{rest:?}");
        }
    }

    #[test]
    fn each_cut_of_a_message() {
        let text = "<a b='1'><c d=\"&lt;\">x</c><!--y--><![CDATA[z]]></a>";
        assert!(Document::parse(text.as_bytes()).is_ok());
        for end in 0..text.len() {
            assert!(Document::parse(&text.as_bytes()[..end]).is_err(), "{}", &text[..end]);
        }
        assert_eq!(refused("<a><b/>"), (Kind::Unclosed, 7));
    }

    #[test]
    fn what_is_not_utf8() {
        let error = Document::parse(b"<a b='\xFF'/>").unwrap_err();
        assert_eq!((error.kind, error.offset), (Kind::Utf8, 6));
        assert!(Document::parse(b"<a b='\xED\xA0\x80'/>").is_err());
    }

    #[test]
    fn what_goes_beyond_a_bound() {
        let nested = |depth| "<a>".repeat(depth) + &"</a>".repeat(depth);
        let document = nested(DEPTH_LIMIT);
        assert_eq!(Document::parse(document.as_bytes()).unwrap().depth(), DEPTH_LIMIT);
        assert_eq!(refused(&nested(DEPTH_LIMIT + 1)).0, Kind::Depth);
        assert_eq!(refused(&"<a>".repeat(100_000)).0, Kind::Depth);

        let attributes = |count| {
            let list: String = (0..count).map(|n| format!(" a{n}='x'")).collect();
            format!("<a{list}/>")
        };
        let most = attributes(ATTRIBUTE_LIMIT);
        assert_eq!(Document::parse(most.as_bytes()).unwrap().root().attributes().count(), ATTRIBUTE_LIMIT);
        assert_eq!(refused(&attributes(100_000)).0, Kind::Attributes);

        let named = |length| format!("<{}/>", "n".repeat(length));
        assert!(Document::parse(named(NAME_LIMIT).as_bytes()).is_ok());
        assert_eq!(refused(&named(NAME_LIMIT + 1)), (Kind::Name, 1));
        assert_eq!(refused(&format!("<a {}='x'/>", "n".repeat(NAME_LIMIT + 1))), (Kind::Name, 3));

        let long = "v".repeat(VALUE_LIMIT + 1);
        for (before, after) in
            [("<a b='", "'/>"), ("<a>", "</a>"), ("<a><!--", "--></a>"), ("<a><![CDATA[", "]]></a>")]
        {
            assert_eq!(refused(&format!("{before}{long}{after}")), (Kind::Value, before.len()));
            assert!(Document::parse(format!("{before}{}{after}", &long[1..]).as_bytes()).is_ok());
        }
    }

    #[test]
    fn errors_say_what_and_where_and_nothing_of_the_text() {
        let error = Document::parse(b"<a><\x1b[2J/></a>").unwrap_err();
        assert_eq!(error.to_string(), "malformed tag at byte 3");
        let error = Document::parse(b"<a b='1' b='2'/>").unwrap_err();
        assert_eq!(error.to_string(), "an attribute for the second time at byte 9");
    }
}

mod pausing {
    use super::*;

    /// Checks `text` a few bytes at a time, and says in how many steps.
    fn stepwise(text: &str, budget: usize) -> Result<(Document<'_>, usize), Error> {
        let mut check = Check::new();
        for step in 1.. {
            assert!(step <= text.len() + 2, "a step must make progress");
            if let Some(document) = check.advance(text, budget)? {
                return Ok((document, step));
            }
        }
        unreachable!()
    }

    #[test]
    fn pauses_do_not_change_what_is_found() {
        let text =
            "<?xml version='1.0'?><a b='1'><c d='2' e='3'>x<f/></c><!--y--><c/><![CDATA[z]]></a> <!--end-->";
        for end in 0..=text.len() {
            let whole = Document::parse(&text.as_bytes()[..end]).map(|document| document.root().source());
            for budget in [0, 1, 7, 40, 1000] {
                let steps = stepwise(&text[..end], budget).map(|(document, _)| document.root().source());
                assert_eq!(steps, whole, "{end} {budget}");
            }
        }
        assert_eq!(stepwise(text, 10).unwrap().1, 4);
        assert_eq!(stepwise(text, 10).unwrap().0.depth(), 3);
    }
}

mod writing {
    use super::*;

    #[test]
    fn an_answer_as_a_real_node_sends_it() {
        let text = written("lrmd_reply", |reply| {
            reply
                .attribute("lrmd_origin", "process_lrmd_get_rsc_info")
                .number("lrmd_rc", -19)
                .number("lrmd_callid", 7)
                .optional("lrmd_rsc_id", None)
                .number("lrmd_remote_msg_id", 16)
                .attribute("lrmd_remote_msg_type", "reply");
        });
        let expected = "<lrmd_reply lrmd_origin=\"process_lrmd_get_rsc_info\" lrmd_rc=\"-19\" lrmd_callid=\"7\" lrmd_remote_msg_id=\"16\" lrmd_remote_msg_type=\"reply\"/>";
        assert_eq!(text, expected);
    }

    #[test]
    fn elements_nest_and_close() {
        let relayed = Document::parse(b"<x y='1'><z/></x>").unwrap();
        let text = written("a", |a| {
            a.attribute("b", "1");
            a.child("c").attribute("d", "2").child("e");
            a.child("f").relay(relayed.root()).relay(relayed.root().first_child().unwrap());
        });
        let expected = r#"<a b="1"><c d="2"><e/></c><f><x y='1'><z/></x><z/></f></a>"#;
        assert_eq!(text, expected);
        assert!(Document::parse(text.as_bytes()).is_ok());
    }

    #[test]
    fn what_is_in_the_buffer_stays() {
        let mut out = b"before".to_vec();
        Writer::new(&mut out, "a");
        assert_eq!(out, b"before<a/>");
    }

    #[test]
    fn numbers() {
        for value in [0, 1, -1, 9, 10, 99, 100, 1_795_212_073, i64::MAX, i64::MIN] {
            let text = written("a", |a| {
                a.number("n", value);
            });
            assert_eq!(text, format!("<a n=\"{value}\"/>"));
        }
    }

    #[test]
    fn escapes_as_pacemaker_3_writes_them() {
        let text = written("a", |a| {
            a.attribute("v", "<>&\"'\t\n\r\x7f ü\u{1F600}");
        });
        assert_eq!(text, "<a v=\"&lt;&gt;&amp;&quot;'&#x09;&#x0A;&#x0D;&#x7F; ü\u{1F600}\"/>");
    }

    #[test]
    fn what_xml_does_not_allow_becomes_a_question_mark() {
        assert_eq!(
            there_and_back("\0a\x08\x0b\x0c\x0e\x1b[0m\x1f\u{FFFE}\u{FFFF}\u{FFFD}\u{FB01}"),
            "?a?????[0m???\u{FFFD}\u{FB01}"
        );
        let output = |bytes: &[u8]| {
            written("a", |a| {
                a.output("o", bytes);
            })
        };
        assert_eq!(output(b"caf\xE9\x1b\n\xE2\x82"), "<a o=\"caf??&#x0A;?\"/>");
        assert_eq!(output("\u{FFFF}ü".as_bytes()), "<a o=\"?ü\"/>");
    }

    #[test]
    fn round_trips_of_arbitrary_strings() {
        // xorshift: any sequence will do, as long as a failure repeats.
        let mut state = 0x2545_F491_4F6C_DD1D_u64;
        let mut random = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 16) as usize % below
        };
        const ALPHABET: [&str; 24] = [
            "a",
            "Z",
            "0",
            " ",
            "\t",
            "\n",
            "\r",
            "\r\n",
            "<",
            ">",
            "&",
            "\"",
            "'",
            "]]>",
            "&amp;",
            "&#x0A;",
            "=\"",
            " x=\"",
            "\x7f",
            "ü",
            "\u{85}",
            "\u{2028}",
            "\u{1F600}",
            "\u{FFFD}",
        ];
        for _ in 0..2000 {
            let values: Vec<String> = (0..1 + random(4))
                .map(|_| (0..random(12)).map(|_| ALPHABET[random(ALPHABET.len())]).collect())
                .collect();
            let text = written("a", |a| {
                let mut child = a.child("c");
                for (n, value) in values.iter().enumerate() {
                    child.attribute(&format!("v{n}"), value);
                }
            });
            let document = Document::parse(text.as_bytes()).expect(&text);
            let read: Vec<_> =
                document.root().first_child().unwrap().attributes().map(|a| a.value().into_owned()).collect();
            assert_eq!(read, values, "{text}");
        }
    }

    #[test]
    fn each_character_is_taken_or_replaced() {
        let all: Vec<char> = (0..=0x10FFFF).filter_map(char::from_u32).collect();
        for some in all.chunks(0x8000) {
            let legal = |c| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{FFFD}' | '\u{10000}'..);
            let expected: String = some.iter().map(|&c| if legal(c) { c } else { '?' }).collect();
            assert!(
                there_and_back(&some.iter().collect::<String>()) == expected,
                "{:x}..",
                u32::from(some[0])
            );
        }
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        for (value, room, expected, fits) in [
            ("abc", 3, "abc", true),
            ("abc", 2, "ab", false),
            ("aü", 2, "a", false),
            ("aü", 3, "aü", true),
            ("a\u{FB01}", 3, "a", false),
            ("a\u{FFFF}b", 2, "a?", false),
            ("a&b", 5, "a", false),
            ("a&b", 6, "a&amp;", false),
            ("\n\n", 11, "&#x0A;", false),
            ("abc", 0, "", false),
        ] {
            let mut out = b"before".to_vec();
            let end = out.len() + room;
            assert_eq!(super::super::writer::escape(&mut out, value, end), fits, "{value:?} {room}");
            assert_eq!(String::from_utf8_lossy(&out), format!("before{expected}"));
        }
        let value = "x".repeat(VALUE_LIMIT + 1);
        assert_eq!(there_and_back(&value).len(), VALUE_LIMIT);
        let output = written("a", |a| {
            a.output("o", &[b'\n'; OUTPUT_LIMIT]);
        });
        let document = Document::parse(output.as_bytes()).unwrap();
        assert_eq!(document.root().attribute("o").unwrap().len(), OUTPUT_LIMIT / 6);
        assert!(output.len() <= OUTPUT_LIMIT + r#"<a o=""/>"#.len());
    }

    #[test]
    #[should_panic(expected = "twice")]
    fn debug_builds_find_duplicates() {
        written("a", |a| {
            a.attribute("b", " c=\"").attribute("c", "").attribute("d", "").attribute("c", "x");
        });
    }

    #[test]
    #[should_panic(expected = "after a child")]
    fn debug_builds_find_late_attributes() {
        written("a", |a| {
            a.child("b");
            a.attribute("c", "");
        });
    }

    #[test]
    #[should_panic(expected = "no name")]
    fn debug_builds_find_bad_names() {
        written("a", |a| {
            a.attribute("1", "");
        });
    }

    #[test]
    fn names() {
        for name in ["a", "_", ":", "CRM_meta_timeout", "a-1.2", "ü"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "1", "-a", ".a", "a b", "a=", "a\"", "a/", "a>", "a\0", "\u{300}a"] {
            assert!(!is_name(name), "{name}");
        }
    }
}
