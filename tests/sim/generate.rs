//! Requests by chance: what controllers send, and a little of what they never should.

use std::collections::BTreeMap;

use super::oracle::SERIAL;
use super::random::Random;
use super::request::{Agent, Ask, Execute};
use super::world::SECRET;
use super::xml::Element;

/// Makes requests.
#[derive(Debug)]
pub struct Generator {
    random: Random,
    last_serial: u64,
    /// What each resource mostly is.
    usual: [Agent; 4],
}

impl Generator {
    /// The resources there are: names as administrators choose them, and as they may.
    pub const RESOURCES: [&'static str; 4] = ["web", "db:0", "vip<&\"é", "r_4"];

    const INTERVALS: [u32; 6] = [5_000, 7_000, 10_000, 15_000, 20_000, 60_000];

    pub fn new(mut random: Random) -> Self {
        let usual = std::array::from_fn(|place| usual(place, &mut random));
        Self { random, last_serial: 0, usual }
    }

    /// Whether systemd is ever asked.
    pub fn has_units(&self) -> bool {
        self.usual.iter().any(|agent| matches!(&*agent.class, "systemd" | "service"))
    }

    /// What a controller wants next.
    pub fn ask(&mut self) -> Ask {
        let resource = self.random.pick(&Self::RESOURCES).to_string();
        let random = &mut self.random;
        match random.below(100) {
            0..40 => Ask::Execute(self.one_shot(resource)),
            40..56 => Ask::Execute(self.recurring(resource)),
            56..68 => Ask::Cancel {
                resource: if random.once_in(30) { "nobody".into() } else { resource },
                action: random.weighted(&[(8, "monitor"), (1, "Monitor"), (1, "start")]).into(),
                interval: if random.percent(15) { 0 } else { *random.pick(&Self::INTERVALS) },
            },
            68..76 => self.registration(resource),
            76..82 => Ask::Info(resource),
            82..90 => Ask::Poke,
            90..92 => Ask::Unregister(if random.once_in(10) { "nobody".into() } else { resource }),
            92..94 => Ask::Recurring(random.percent(50).then_some(resource)),
            94 => Ask::Check,
            95 | 96 => {
                let operation = *random.pick(&["response", "event", "destroy", "shutdown_ack", "request"]);
                let session = format!("4b7a91c2-{:04x}", random.below(0xffff));
                Ask::forward(operation, (operation != "shutdown_ack").then_some(session))
            }
            97 => Ask::Register { version: "1.2", provider: true },
            _ => self.refused(),
        }
    }

    /// Of all resources whose agent is always the same one; seldom another.
    fn registration(&mut self, resource: String) -> Ask {
        let place = Self::RESOURCES.iter().position(|name| *name == resource).unwrap_or(0);
        let usual = self.usual[place].clone();
        let shout = |text: &str| text.to_uppercase();
        let agent = match self.random.below(60) {
            0 => Agent::new("ocf", Some("heartbeat"), "Filesystem"),
            1 => Agent::new("stonith", None, "fence_ipmilan"),
            2 => Agent::new("upstart", None, "cron"),
            3 => Agent::new("ocf", None, "Dummy"),
            4 => Agent::new("ocf", Some("../../tmp"), "evil"),
            5 if usual.class != "ocf" => Agent::new(&usual.class, None, "../../tmp/evil"),
            5..9 => {
                Agent { class: shout(&usual.class), provider: usual.provider.as_deref().map(shout), ..usual }
            }
            _ => usual,
        };
        Ask::RegisterResource { resource, agent, drop_recurring: !self.random.once_in(8) }
    }

    fn one_shot(&mut self, resource: String) -> Execute {
        let action = self.random.weighted(&[
            (10, "monitor"),
            (8, "start"),
            (5, "stop"),
            (2, "promote"),
            (2, "demote"),
            (1, "notify"),
            (1, "reload-agent"),
            (1, "migrate_to"),
            (1, "restart"),
            (1, "status"),
        ]);
        self.execute(resource, action, 0)
    }

    fn recurring(&mut self, resource: String) -> Execute {
        let interval = *self.random.pick(&Self::INTERVALS);
        let action = if self.random.once_in(15) { "Monitor" } else { "monitor" };
        self.execute(resource, action, interval)
    }

    /// A request for an operation.
    pub fn execute(&mut self, resource: String, action: &str, interval: u32) -> Execute {
        self.last_serial += 1;
        let serial = self.last_serial.to_string();
        let random = &mut self.random;
        let timeout =
            random.weighted(&[(1, 0), (3, 2_000), (4, 5_000), (4, 10_000), (8, 20_000), (1, 45_000)]);
        let mut parameters = BTreeMap::from([
            (SERIAL.into(), serial.clone()),
            ("crm_feature_set".into(), "3.20.0".into()),
            ("CRM_meta_timeout".into(), timeout.to_string()),
            ("password".into(), SECRET.into()),
        ]);
        for (chance, name, value) in [
            (20, "CRM_meta_on_node", "node3"),
            (10, "CRM_meta_on_fail", "block"),
            (5, "CRM_meta_on_fail", "restart"),
            (10, "OCF_CHECK_LEVEL", "10"),
            (10, "1", "positional"),
            (10, "quoted", "a \"b\" <c> & 'd'\n\te\u{7f}\r\u{e9}\u{1f600}"),
            (5, "empty", ""),
            (5, "dotted.name-2:x", "y=z"),
        ] {
            if random.percent(chance) {
                parameters.insert(name.into(), value.into());
            }
        }
        if random.once_in(100) {
            let long = random.between(10_000, 100_000);
            parameters.insert("long".into(), "&x".repeat(long as usize / 2));
        }
        Execute {
            resource: if random.once_in(100) { "nobody".into() } else { resource },
            action: action.into(),
            interval,
            timeout,
            start_delay: random.weighted(&[(20, 0), (1, 500), (1, 5_000), (1, 20_000)]),
            user_data: (!random.once_in(20)).then(|| format!("{serial}:4:0:7f2c1d0e-{}", random.below(99))),
            options: random.weighted(&[(15, 4), (2, 0), (1, 2), (2, 6)]),
            parameters,
        }
    }

    /// What lacks something, or nobody knows: with the number that says so.
    fn refused(&mut self) -> Ask {
        let command =
            |operation: &str| Element::new("lrmd_command").with("t", "lrmd").with("lrmd_op", operation);
        let data = |operation: &str, resource: Element| {
            command(operation).child(Element::new("lrmd_calldata").child(resource))
        };
        let nameless = || Element::new("lrmd_rsc").with("lrmd_origin", "sim");
        let named = || Element::new("lrmd_rsc").with("lrmd_rsc_id", "web");
        let injection = Element::new("param").with("name", "LD_PRELOAD=/tmp/x").with("value", "y");
        let injection = named()
            .with("lrmd_rsc_action", "start")
            .child(Element::new("attributes").with(SERIAL, "0").child(injection));
        let all = [
            (command("lrmd_rsc_metadata"), -95),
            (Element::new("lrmd_command").with("t", "lrmd"), -95),
            (Element::new("cib_command").with("t", "cib"), -95),
            (data("lrmd_rsc_info", nameless()), -19),
            (data("lrmd_rsc_unregister", nameless()), -19),
            (data("lrmd_rsc_exec", nameless().with("lrmd_rsc_action", "start")), -22),
            (data("lrmd_rsc_exec", named()), -22),
            (data("lrmd_rsc_exec", injection), -22),
            (data("lrmd_rsc_cancel", named()), -22),
            (data("lrmd_rsc_register", named().with("lrmd_class", "ocf")), -22),
        ];
        let (element, rc) = self.random.pick(&all).clone();
        Ask::Refused(element, rc)
    }

    /// What is not XML, as a strict cluster sees it.
    pub fn nonsense(&mut self) -> Vec<u8> {
        let all: [&[u8]; 6] = [
            b"<lrmd_command t=\"lrmd\" lrmd_op=\"lrmd_rsc_poke\"",
            b"<a><b></a></b>",
            b"hello",
            b"<!DOCTYPE a [<!ENTITY b \"c\">]><a x=\"&b;\"/>",
            b"<a x=\"\x1b\"/>",
            b"<a x=\"1\" x=\"2\"/>",
        ];
        self.random.pick(&all).to_vec()
    }
}

/// What a resource mostly is. Names of units and scripts are of one resource only: by them it is known whom a call is
/// for.
fn usual(place: usize, random: &mut Random) -> Agent {
    match random.below(20) {
        0..11 => Agent::new("ocf", Some("heartbeat"), ["apache", "pgsql", "IPaddr2", "Dummy"][place]),
        11 | 12 => Agent::new("lsb", None, ["apache2", "/opt/pg/init", "vip", "dummy"][place]),
        13 | 14 => Agent::new("service", None, ["web-unit", "db-unit", "vip-unit", "r4-unit"][place]),
        _ => {
            let kinds = [
                ["httpd", "httpd.service", "web.socket"],
                ["pgsql@15-main", "pgsql@.service", "pgsql@"],
                ["srv-vip.mount", "vip.d", "vip.path"],
                ["r4", "r4.timer", "r4@x.service"],
            ];
            Agent::new("systemd", None, random.pick::<&str>(&kinds[place]))
        }
    }
}
