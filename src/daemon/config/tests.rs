use super::*;

impl Config {
    fn of(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::on(&Machine::default(), arguments, environment)
    }

    fn on(machine: &Machine, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let arguments = Arguments::parse("test", "", arguments.iter().map(OsStr::new)).unwrap();
        let environment = environment.iter().map(|&(name, value)| (name.into(), value.into()));
        Self::new(&arguments, environment, machine)
    }
}

fn texts(config: &Config) -> Vec<&str> {
    config.warnings.iter().map(|line| line.text.as_str()).collect()
}

fn children(config: &Config) -> Vec<&str> {
    config.environment.iter().map(|entry| entry.to_str().unwrap()).collect()
}

#[test]
fn nothing_said_is_stocks_defaults() {
    let config = Config::of(&[], &[]);
    assert_eq!((config.host.as_deref(), config.port), (None, 3121));
    assert_eq!(config.key.as_c_str(), c"/etc/pacemaker/authkey");
    assert_eq!(config.settings.place.ocf_root.as_c_str(), c"/usr/lib/ocf");
    assert_eq!(config.settings.place.agent_path, [c"/usr/lib/ocf/resource.d".to_owned()]);
    assert_eq!(config.settings.node_start_state, None);
    assert_eq!(config.user_timeout_millis, None);
    let sinks = Sinks { syslog: Some((Facility::DAEMON, Level::Notice)), stderr: None };
    assert_eq!(config.sinks, sinks);
    assert!(config.warnings.is_empty());
}

#[test]
fn the_new_name_goes_before_the_old_one() {
    let config = Config::of(&[], &[("HA_remote_port", "1"), ("PCMK_remote_port", "2")]);
    assert_eq!(config.port, 2);
    let config = Config::of(&[], &[("HA_remote_port", "1"), ("HA_authkey_location", "/key")]);
    assert_eq!((config.port, config.key.as_c_str()), (1, c"/key"));
    // The command line goes before both, and is told to agents.
    let config = Config::of(&["-p", "3", "--port=4"], &[("PCMK_remote_port", "2")]);
    assert_eq!(config.port, 4);
    assert!(children(&config).contains(&"PCMK_remote_port=4"));
}

#[test]
fn a_port_that_is_none_is_named() {
    let others = ["0", "65536", "http", "-1", "0x10", "=3125"].map(|value| (value, 3121));
    for (value, port) in
        others.into_iter().chain([("31 21", 31), ("3125x", 3125), (" 3125", 3125), (" +3125", 3125)])
    {
        let config = Config::of(&[], &[("PCMK_remote_port", value)]);
        assert_eq!(config.port, port);
        let expected = format!(
            "PCMK_remote_port is \"{value}\" but should be a number from 1 to 65535: listening on {port}"
        );
        assert_eq!(texts(&config), [expected]);
    }
    assert!(Config::of(&[], &[("PCMK_remote_port", "")]).warnings.is_empty());
    let config = Config::of(&["start", "-p", "x"], &[]);
    assert_eq!(
        texts(&config),
        [
            "The argument \"start\" is neither an option nor its value: ignoring it",
            "PCMK_remote_port is \"x\" but should be a number from 1 to 65535: listening on 3121",
        ]
    );
}

#[test]
fn logging_follows_stocks_words() {
    let sinks = |environment: &[(&str, &str)], arguments: &[&str]| Config::of(arguments, environment).sinks;
    assert_eq!(sinks(&[("PCMK_logfacility", "none")], &[]).syslog, None);
    assert_eq!(sinks(&[("PCMK_logfacility", "/dev/null")], &[]).syslog, None);
    let local = sinks(&[("PCMK_logfacility", "local3"), ("PCMK_logpriority", "DEBUG")], &[]).syslog;
    assert_eq!(local, Some((Facility::named(b"local3").unwrap(), Level::Debug)));
    for value in ["1", "yes", "ON", "pacemaker-based,pacemaker-remoted", "pacemaker_remoted"] {
        assert_eq!(sinks(&[("PCMK_stderr", value)], &[]).stderr, Some(Level::Info), "{value}");
    }
    for value in ["", "0", "no", "pacemaker-based"] {
        assert_eq!(sinks(&[("PCMK_stderr", value)], &[]).stderr, None, "{value}");
    }
    assert_eq!(sinks(&[("PCMK_stderr", "1"), ("PCMK_debug", "1")], &[]).stderr, Some(Level::Debug));
    assert_eq!(sinks(&[], &["-V"]).stderr, Some(Level::Info));
    assert_eq!(sinks(&[], &["-VV"]).stderr, Some(Level::Debug));
}

#[test]
fn each_bad_value_is_named_with_what_is_done_instead() {
    let environment = [
        ("PCMK_logfacility", "loca\u{1b}"),
        ("PCMK_logpriority", "loud"),
        ("OCF_ROOT", "lib"),
        ("OCF_RA_PATH", "a:/b"),
        ("SBD_WATCHDOG_TIMEOUT", "soon"),
    ];
    let config = Config::of(&[], &environment);
    assert_eq!(
        texts(&config),
        [
            "PCMK_logfacility is \"loca\\x1b\" but should be a syslog facility or \"none\": logging to \"daemon\"",
            "PCMK_logpriority is \"loud\" but should be emerg, alert, crit, error, warning, notice, info or debug: \
             logging from notice on",
            "OCF_ROOT is \"lib\" but should be an absolute path: using /usr/lib/ocf",
            "SBD_WATCHDOG_TIMEOUT is \"soon\" but should be a time, such as \"5\" or \"5s\": going on without it",
            "A directory of OCF_RA_PATH is \"a\" but should be an absolute path: ignoring it",
        ]
    );
    assert_eq!(config.settings.place.agent_path, [c"/b".to_owned()]);
}

#[test]
fn agents_are_looked_for_where_ocf_root_says() {
    let config = Config::of(&[], &[("OCF_ROOT", "/opt/ocf")]);
    assert_eq!(config.settings.place.agent_path, [c"/opt/ocf/resource.d".to_owned()]);
    let config = Config::of(&[], &[("OCF_ROOT", "/opt/ocf"), ("OCF_RA_PATH", "/a::/b")]);
    assert_eq!(config.settings.place.agent_path, [c"/a".to_owned(), c"/b".to_owned()]);
}

#[test]
fn half_the_watchdogs_time_is_left_to_tcp() {
    for (value, expected) in [
        ("5", Some(2500)),
        ("10s", Some(5000)),
        (" 700 ms ", Some(350)),
        ("2min", Some(60_000)),
        ("0", None),
        ("", None),
        ("99999999h", Some(u32::MAX)),
        ("999999999999999999h", None),
    ] {
        let config = Config::of(&[], &[("SBD_WATCHDOG_TIMEOUT", value)]);
        assert_eq!(config.user_timeout_millis, expected, "{value}");
    }
}

#[test]
fn a_container_is_not_asked_for_a_watchdog() {
    let watchdog = |is_container| {
        let machine = Machine { is_container, ..Machine::default() };
        Config::on(&machine, &[], &[("SBD_WATCHDOG_TIMEOUT", "5")]).settings.watchdog
    };
    assert_eq!((watchdog(false), watchdog(true)), (Some(5000), None));
    assert_eq!(Config::of(&[], &[]).settings.watchdog, Some(0));
}

#[test]
fn children_get_everything_but_what_is_the_daemons() {
    let environment = [
        ("PATH", "/bin"),
        ("EMPTY", ""),
        ("NOTIFY_SOCKET", "/run/systemd/notify"),
        ("LISTEN_FDS", "1"),
        ("LISTEN_PID", "1"),
        ("WATCHDOG_USEC", "1"),
        ("CREDENTIALS_DIRECTORY", "/run/credentials"),
        ("JOURNAL_STREAM", "8:1"),
        ("LISTENER", "kept"),
        ("PCMK_node_start_state", "standby"),
    ];
    let config = Config::of(&[], &environment);
    assert_eq!(
        children(&config),
        [
            "EMPTY=",
            "HA_LOGFACILITY=daemon",
            "HA_logfacility=daemon",
            "LISTENER=kept",
            "OCF_OUTPUT_FORMAT=text",
            "PATH=/bin",
            "PCMK_LOGFACILITY=daemon",
            "PCMK_logfacility=daemon",
            "PCMK_node_start_state=standby",
            "PCMK_service=pacemaker-remoted",
        ]
    );
    assert_eq!(config.settings.node_start_state.as_deref(), Some("standby"));
    let silent = Config::of(&[], &[("PCMK_logfacility", "none")]);
    assert_eq!(
        children(&silent),
        [
            "HA_logfacility=none",
            "OCF_OUTPUT_FORMAT=text",
            "PCMK_logfacility=none",
            "PCMK_service=pacemaker-remoted",
        ]
    );
}

/// Where the log goes, and what agents are told of that.
fn log_files(config: &Config) -> Vec<&str> {
    let files = config.log_files.iter().flat_map(|files| &files.paths);
    files.map(|path| path.to_str().unwrap()).collect()
}

#[test]
fn the_log_file_is_stocks_where_its_directory_is() {
    let machine = Machine {
        log_file: Some("/var/log/pacemaker/pacemaker.log"),
        directory: "/start".into(),
        ..Machine::default()
    };
    let config = Config::on(&machine, &[], &[]);
    assert_eq!(log_files(&config), ["/var/log/pacemaker/pacemaker.log"]);
    let files = config.log_files.as_ref().unwrap();
    assert_eq!((files.mode, files.least), (0o660, Level::Info));
    for name in ["HA_LOGFILE", "PCMK_LOGFILE", "HA_logfile", "PCMK_logfile"] {
        let entry = format!("{name}=/var/log/pacemaker/pacemaker.log");
        assert!(children(&config).contains(&entry.as_str()), "{entry}");
    }
    assert_eq!(log_files(&Config::of(&[], &[])), [""; 0]);
    let config = Config::on(&machine, &["-l", "/one", "--logfile=two"], &[("HA_logfile", "/log")]);
    assert_eq!(log_files(&config), ["/log", "/one", "/start/two"]);
    assert!(children(&config).contains(&"PCMK_LOGFILE=/log"));
    for none in ["none", "/dev/null"] {
        let config = Config::on(&machine, &["-l/one"], &[("PCMK_logfile", none)]);
        assert_eq!(log_files(&config), ["/one"]);
        assert!(!children(&config).iter().any(|entry| entry.contains("_LOGFILE=")));
    }
    let environment = [("PCMK_logfile", "/log"), ("PCMK_logfile_mode", "0640"), ("PCMK_debug", "yes")];
    let config = Config::on(&machine, &[], &environment);
    let files = config.log_files.as_ref().unwrap();
    assert_eq!((files.mode, files.least), (0o640, Level::Debug));
    for entry in ["PCMK_DEBUGLOG=/log", "HA_DEBUGLOG=/log"] {
        assert!(children(&config).contains(&entry), "{entry}");
    }
}

#[test]
fn log_files_have_bounds() {
    let config = Config::of(&["-l/x"; 10], &[("PCMK_logfile", "here"), ("PCMK_logfile_mode", "0999")]);
    assert_eq!(log_files(&config), ["/x"; FILES]);
    assert_eq!(
        texts(&config),
        [
            "PCMK_logfile is \"here\" but should be an absolute path or \"none\": writing no log file",
            "PCMK_logfile_mode is \"0999\" but should be an octal number from 0 to 777: using 660",
            "There are more than 8 log files: ignoring /x",
            "There are more than 8 log files: ignoring /x",
        ]
    );
}

#[test]
fn the_environment_goes_before_files() {
    let file = |path: &str, text: &str| SettingsFile { path: path.into(), text: text.into() };
    let settings = vec![
        file(
            "/etc/default/pacemaker",
            "PCMK_remote_port=1\nPCMK_node_start_state=standby\nSBD_WATCHDOG_TIMEOUT=9",
        ),
        file("/etc/default/sbd", "SBD_WATCHDOG_TIMEOUT=5\nPCMK_remote_address='::1'\nbad"),
    ];
    let machine = Machine { settings, ..Machine::default() };
    let config =
        Config::on(&machine, &[], &[("PCMK_remote_address", ""), ("PCMK_node_start_state", "online")]);
    assert_eq!((config.host.as_deref(), config.port), (None, 1));
    assert_eq!(config.settings.node_start_state.as_deref(), Some("online"));
    assert_eq!(config.user_timeout_millis, Some(2500));
    assert!(children(&config).contains(&"SBD_WATCHDOG_TIMEOUT=5"));
    assert_eq!(
        texts(&config),
        ["Line 3 of /etc/default/sbd is \"bad\" but should be NAME=value: ignoring it"]
    );
}

#[test]
fn an_images_settings_add_to_the_environment() {
    let text =
        b"PCMK_remote_port=1\nPCMK_node_start_state=standby\nPCMK_node_start_state=online\nLD_PRELOAD=/x\n\
                 LDAP=y\nexport a=b\nEMPTY=\n";
    let image = Some(SettingsFile { path: "/image.env".into(), text: text.into() });
    let config = Config::on(&Machine { image, ..Machine::default() }, &[], &[("PCMK_remote_port", "2")]);
    assert_eq!((config.port, config.settings.node_start_state.as_deref()), (2, Some("standby")));
    for entry in ["PCMK_remote_port=2", "LDAP=y", "EMPTY="] {
        assert!(children(&config).contains(&entry), "{entry}");
    }
    assert!(!children(&config).iter().any(|entry| entry.starts_with("LD_")));
    assert_eq!(
        texts(&config),
        [
            "Line 6 of /image.env is \"export a=b\" but should be NAME=value: ignoring it",
            "LD_PRELOAD is not taken from /image.env: set it where it is needed",
        ]
    );
}

#[test]
fn who_is_looked_after_says_so_on_standard_output() {
    let machine = Machine { is_kept: true, log_file: Some("/var/log/pcmk-init.log"), ..Machine::default() };
    let config = Config::on(&machine, &[], &[]);
    assert_eq!((config.joins_stdout, config.sinks.stderr), (true, Some(Level::Info)));
    // As stock has it: for agents, too.
    for entry in ["PCMK_logfile=/var/log/pcmk-init.log", "HA_logfile=/var/log/pcmk-init.log"] {
        assert!(children(&config).contains(&entry), "{entry}");
    }
    assert!(!children(&config).iter().any(|entry| entry.starts_with("PCMK_stderr=")));
    // Who says what is to be on standard error has decided it.
    for (value, level) in [("1", Some(Level::Info)), ("no", None)] {
        let config = Config::on(&machine, &[], &[("PCMK_stderr", value)]);
        assert_eq!((config.joins_stdout, config.sinks.stderr), (false, level));
    }
}

#[test]
fn settings_without_effect_are_named() {
    let environment = [
        ("PCMK_ca_file", "/ca"),
        ("PCMK_cluster_type", "corosync"),
        ("PCMK_dh_min_bits", ""),
        ("PCMK_node_start_state", "Standby"),
        ("PCMK_remote_prot", "3121"),
        ("HA_BIN", "/bin"),
    ];
    assert_eq!(
        texts(&Config::of(&[], &environment)),
        [
            "PCMK_ca_file is \"/ca\" but has no effect in this daemon: ignoring it",
            "PCMK_remote_prot is \"3121\" but is no setting that this daemon knows: ignoring it",
            "PCMK_node_start_state is \"Standby\" but should be default, online or standby: telling the cluster so \
             all the same",
        ]
    );
}

/// What sessions of tools may take, by the environment, on a machine with this much memory.
fn memory(environment: &[(&str, &str)], shared: Option<u64>, limit: Option<u64>) -> (u64, Vec<String>) {
    let machine = Machine { shared_memory: shared, memory_limit: limit, ..Machine::default() };
    let config = Config::on(&machine, &[], environment);
    let told = texts(&config).into_iter().map(str::to_owned).collect();
    (config.settings.tools.unwrap().memory, told)
}

#[test]
fn tools_get_a_part_of_the_machines_memory() {
    const MIB: u64 = 1 << 20;
    assert_eq!(memory(&[], None, None), (128 * MIB, vec![]));
    assert_eq!(memory(&[], Some(256 * MIB), Some(512 * MIB)), (128 * MIB, vec![]));
    let (bytes, told) = memory(&[], Some(64 * MIB), Some(400 * MIB));
    assert_eq!(bytes, 32 * MIB);
    assert!(told[0].contains("33554432 bytes") && told[0].contains("half of what is free in /dev/shm"));
    let (bytes, told) = memory(&[], Some(64 * MIB), Some(100 * MIB));
    assert!(bytes == 25 * MIB && told[0].contains("a quarter of the control group's memory limit"));
    assert_eq!(memory(&[], Some(MIB), None).0, 4 * MIB);
    assert_eq!(memory(&[], Some(0), Some(0)).0, 4 * MIB);
    assert_eq!(memory(&[("PACELET_tools_memory", "5000000")], Some(MIB), None), (5_000_000, vec![]));
    assert_eq!(memory(&[("PACELET_tools_memory", "")], None, None), (128 * MIB, vec![]));
    let (bytes, told) = memory(&[("PACELET_tools_memory", "1M")], None, None);
    assert_eq!(bytes, 128 * MIB);
    assert_eq!(
        told,
        [
            "PACELET_tools_memory is \"1M\" but should be a number of bytes from 4194304 to 1099511627776: taking \
          134217728"
        ]
    );
}

#[test]
fn tools_are_served_unless_it_is_said_otherwise() {
    let is_on = |value| Config::of(&[], &[("PACELET_tools", value)]).settings.tools.is_some();
    for value in ["no", "NO", "false", "off", "n", "0"] {
        assert!(!is_on(value), "{value}");
    }
    for value in ["", "yes", "1", "true", "sure"] {
        assert!(is_on(value), "{value}");
    }
    assert_eq!(
        texts(&Config::of(
            &[],
            &[("PACELET_tools", "sure"), ("PACELET_tool", "x"), ("PACELET_ipc_buffer", "")]
        )),
        [
            "PACELET_ipc_buffer is \"\" but is no setting that this daemon knows: ignoring it",
            "PACELET_tool is \"x\" but is no setting that this daemon knows: ignoring it",
            "PACELET_tools is \"sure\" but should be yes or no: serving tools",
        ]
    );
}

#[test]
fn the_longest_message_has_bounds() {
    for (value, expected, instead) in [
        ("12328", Some(12_328), ""),
        ("33554432", Some(33_554_432), ""),
        (" 500000 ", Some(500_000), ""),
        ("", None, ""),
        ("12327", Some(12_328), "taking 12328"),
        ("99999999999", Some(33_554_432), "taking 33554432"),
        ("-1", None, "ignoring it"),
        ("128k", None, "ignoring it"),
    ] {
        for name in ["PCMK_ipc_buffer", "HA_ipc_buffer"] {
            let config = Config::of(&[], &[(name, value)]);
            assert_eq!(config.settings.tools.unwrap().longest, expected, "{value}");
            let told = texts(&config);
            assert_eq!(told.is_empty(), instead.is_empty(), "{value}");
            assert!(told.iter().all(|told| told.contains("12328 to 33554432") && told.ends_with(instead)));
        }
    }
    for value in ["shared-mem", "SHM", ""] {
        assert!(Config::of(&[], &[("PCMK_ipc_type", value)]).warnings.is_empty());
    }
    assert_eq!(
        texts(&Config::of(&[], &[("PCMK_ipc_type", "socket")])),
        ["PCMK_ipc_type is \"socket\" but should be shared-mem, which all tools take: using shared memory"]
    );
}

#[test]
fn sockets_that_are_files_are_where_libqb_looks() {
    let directory = |has_file_sockets, os_release: &str, value| {
        let machine = Machine { has_file_sockets, os_release: os_release.into(), ..Machine::default() };
        Config::on(&machine, &[], &[("PACELET_socket_dir", value)]).socket_directory
    };
    assert_eq!(directory(false, "ID=debian", "/x"), None);
    for (os_release, expected) in [
        ("PRETTY_NAME=\"x\"\nID=debian\n", "/tmp"),
        ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"", "/tmp"),
        ("ID='debian'", "/tmp"),
        ("ID=fedora\nHOME_URL=\"debian\"", "/var/run"),
        ("ID=debianish", "/var/run"),
        ("", "/var/run"),
    ] {
        assert_eq!(directory(true, os_release, ""), Some(expected.into()), "{os_release}");
        assert_eq!(directory(true, os_release, "run"), Some(expected.into()), "{os_release}");
        assert_eq!(directory(true, os_release, "/x/y"), Some("/x/y".into()));
    }
}
