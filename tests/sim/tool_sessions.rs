//! Sessions of local tools, one thing at a time (ipc.md sections C.6 and D).

use pacelet::proxy::{Name, ToolId};

use super::bench::Bench;
use super::children::Script;
use super::request::Ask;
use super::world::{Cut, World};
use super::xml::Element;

const WANTS_RESPONSE: u32 = 0x200;
const UNPRIVILEGED: u32 = 4711;

fn command(operation: &str) -> Element {
    Element::new("lrmd_command").with("lrmd_op", operation).with("lrmd_clientname", "tool")
}

impl Bench {
    fn open(&mut self, name: Name, uid: u32) -> ToolId {
        let tool = self.world.tool(name, uid).unwrap();
        assert!(self.world.open_tools().contains(&tool));
        tool
    }

    /// Asks the executor; its answer.
    #[track_caller]
    fn local(&mut self, tool: ToolId, request: Element) -> String {
        self.tools_told.clear();
        self.world.tool_request(tool, WANTS_RESPONSE, request).unwrap();
        self.pass(100);
        let answers = self.tools_told.iter().filter(|(to, number, _)| *to == tool && number.is_some());
        let answers: Vec<_> = answers.map(|(.., text)| text.clone()).collect();
        assert_eq!(answers.len(), 1, "{answers:?}");
        answers.concat()
    }
}

#[test]
fn without_a_cluster_tools_are_told_so() {
    let mut world = World::new(0, |_, _| Script::quiet(0, 0), false);
    world.start().unwrap();
    // The world knows who must be refused, and with what.
    for name in Name::ALL {
        world.tool(name, 0).unwrap();
    }
    assert_eq!(world.open_tools().len(), 1);
}

#[test]
fn sessions_belong_to_who_was_the_newest_provider() {
    let mut bench = Bench::new();
    let first = bench.open(Name::Crmd, 0);
    let newcomer = bench.registered_client();
    let second = bench.open(Name::CibShm, 0);
    for tool in [first, second] {
        bench.world.tool_request(tool, 0, Element::new("question")).unwrap();
    }
    bench.pass(100);
    let told = bench.told(newcomer);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("lrmd_ipc_server=\"cib_rw\"") && told[1].contains("<question/>"), "{told:?}");
    bench.world.cut(newcomer, Cut::Fin);
    bench.pass(100);
    assert_eq!(bench.world.open_tools(), [first]);
    let healthy = bench.healthy;
    bench.world.cut(healthy, Cut::Fin);
    bench.world.pass(0).unwrap();
    assert!(bench.world.open_tools().is_empty());
}

#[test]
fn clients_on_the_node_ask_the_executor_and_the_cluster_hears_nothing_of_them() {
    let mut bench = Bench::new();
    let cluster = bench.registered_client();
    bench.world.lines.clear();
    let root = bench.open(Name::Lrmd, 0);
    let registered = bench.local(root, command("register").with("lrmd_protocol_version", "1.2"));
    assert!(registered.contains("lrmd_rc=\"0\"") && registered.contains("lrmd_op=\"register\""));
    assert!(!registered.contains("lrmd_remote_msg"), "{registered}");
    assert_eq!(bench.told(cluster), [""; 0]);
    assert!(bench.world.lines.is_empty());

    // It may do what the cluster may, but for speaking for the cluster.
    let unknown = command("lrmd_rsc_info")
        .child(Element::new("lrmd_calldata").child(Element::new("lrmd_rsc").with("lrmd_rsc_id", "x")));
    assert!(bench.local(root, unknown.clone()).contains("lrmd_rc=\"-19\""));
    let provider =
        command("register").with("lrmd_protocol_version", "1.2").with("lrmd_is_ipc_provider", "true");
    assert!(bench.local(root, provider).contains("lrmd_rc=\"-13\""));

    // Others may say hello, and see whether anybody is there.
    let other = bench.open(Name::Lrmd, UNPRIVILEGED);
    let hello = command("register").with("lrmd_protocol_version", "1.2");
    assert!(bench.local(other, hello).contains("lrmd_rc=\"0\""));
    assert!(bench.local(other, command("lrmd_rsc_poke")).contains("lrmd_rc=\"0\""));
    assert!(bench.local(other, unknown).contains("lrmd_rc=\"-13\""));
    for operation in ["lrmd_rsc_register", "lrmd_get_recurring", "ipc_fwd", "lrmd_check"] {
        let answer = bench.local(other, command(operation));
        assert!(answer.contains("lrmd_rc=\"-13\""), "{answer}");
    }
}

#[test]
fn clients_on_the_node_are_told_what_the_cluster_is_told() {
    let mut bench = Bench::new();
    let local = bench.open(Name::Lrmd, 0);
    bench.local(local, command("register").with("lrmd_protocol_version", "1.2"));
    bench.tools_told.clear();
    let healthy = bench.healthy;
    bench.request(healthy, None, Ask::Poke);
    bench.world.pass(1000).unwrap();
    bench.world.tool_ends(local).unwrap();
}

#[test]
fn who_does_not_read_loses_its_session_and_nobody_elses() {
    let mut bench = Bench::new();
    let (deaf, other) = (bench.open(Name::CibRo, 0), bench.open(Name::CibRo, UNPRIVILEGED));
    bench.world.tool_request(deaf, 0, Element::new("question")).unwrap();
    bench.world.tool_reads(deaf, false);
    bench.pass(100);
    let cluster = bench.healthy;
    let sessions = bench.world.oracle.sessions();
    for number in 0..3_000 {
        let content = Some(Element::new("news").with("number", number));
        let session = Some(sessions[&deaf].clone());
        bench.request(cluster, None, Ask::Forward { operation: "event", session, request: None, content });
    }
    bench.pass(10_000);
    assert_eq!(bench.world.open_tools(), [other]);
    let lines: Vec<_> = bench.world.lines.drain(..).map(|line| line.text).collect();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines.iter().all(|line| line.contains("cib_ro")), "{lines:#?}");
}
