//! A gateway and a worker with a wire between them that can be cut, and readers that check what they get.

use crate::stream::wire::{Fields, Value, first_two, last_bytes, put_bytes, put_number};
use crate::stream::{
    Action, Actions, ChunkLogs, JobId, Join, LogSettings, OpenJob, Opening, Piece, Placing, Position, Start,
    StreamTable, TableSettings,
};
use std::collections::{BTreeMap, VecDeque};

/// Settings of a gateway that tests can shrink.
pub fn table_settings() -> TableSettings {
    TableSettings {
        window_bytes: 262_144,
        log_bytes_max: 8_388_608,
        commit_wait_ms: 250,
        detach_grace_ms: 10_000,
        silence_ms: 5_000,
        stall_ms: 30_000,
        body_bytes_max: 16_777_216,
        continuation: true,
        hold_failed: false,
    }
}

/// Settings of a worker that tests can shrink.
pub fn log_settings() -> LogSettings {
    LogSettings {
        log_bytes_max: 8_388_608,
        linger_ms: 30_000,
        assembly_bytes_max: 67_108_864,
        body_bytes_max: 16_777_216,
    }
}

/// Id of a test's job.
pub fn job(number: u8) -> JobId {
    [number; 16]
}

/// A placing without a continuity.
pub fn at(number: u8, epoch: u32, link: u64, body: &[u8]) -> Placing<'_> {
    Placing {
        job: job(number),
        epoch,
        link,
        body,
        continuity: 0,
        driver: None,
    }
}

/// A reader from position 0 on.
pub fn plain(reader: u64) -> Join<'static> {
    Join {
        reader,
        stamp: b"",
        first: b"",
        start: Start::default(),
        continuation: true,
    }
}

/// What a reader has got.
#[derive(Debug, Default, Clone)]
pub struct Got {
    /// Text by output.
    pub text: BTreeMap<u64, Vec<u8>>,
    /// Extras, in order.
    pub extras: Vec<Vec<u8>>,
    /// Chunks with `done`.
    pub ends: usize,
    /// Failures.
    pub failed: Vec<Vec<u8>>,
    /// Whether the caller was told of the end.
    pub told_end: bool,
    seq: u64,
    bytes: u64,
}

/// Both machines, the wire, and the readers.
pub struct World {
    /// The gateway.
    pub table: StreamTable,
    /// The worker.
    pub logs: ChunkLogs,
    /// Milliseconds since the beginning.
    pub now: u64,
    /// The link that both know, by one number.
    pub link: u64,
    /// Readers by number.
    pub readers: BTreeMap<u64, Got>,
    /// What the gateway wanted, but for links.
    pub gateway: Vec<Action>,
    /// What the worker wanted, but for links.
    pub worker: Vec<Action>,
    ticked: u64,
    up: VecDeque<Vec<u8>>,
    down: VecDeque<Vec<u8>>,
}

impl World {
    /// Two machines with one link.
    pub fn new(table: TableSettings, logs: LogSettings) -> Self {
        Self {
            table: StreamTable::new(table),
            logs: ChunkLogs::new(logs),
            now: 0,
            link: 1,
            readers: BTreeMap::new(),
            gateway: Vec::new(),
            worker: Vec::new(),
            ticked: 0,
            up: VecDeque::new(),
            down: VecDeque::new(),
        }
    }

    /// Open a job that this gateway drives.
    pub fn open(&mut self, number: u8, on_disconnect: u32) {
        let open = OpenJob {
            job: job(number),
            driver: true,
            keep_answer_bytes: 100_000,
            on_disconnect,
            deadline_ms: 1_000_000,
        };
        self.table.open(&open, self.now).expect("not open");
    }

    /// A reader joins.
    pub fn join(&mut self, number: u8, reader: u64) {
        self.join_at(number, reader, Start::default());
    }

    /// A reader joins at a place.
    pub fn join_at(&mut self, number: u8, reader: u64, start: Start) {
        let mut first = Vec::new();
        put_bytes(&mut first, 17, b"");
        let got = Got {
            bytes: start.position.bytes,
            ..Got::default()
        };
        self.readers.insert(reader, got);
        let join = Join {
            reader,
            stamp: b"\x0a\x01c",
            first: &first,
            start,
            continuation: true,
        };
        let actions = self.table.join(job(number), &join).expect("free");
        self.did(actions);
    }

    /// Place a job on the present link.
    pub fn place(&mut self, number: u8, epoch: u32, request: usize) {
        let mut body = Vec::new();
        put_bytes(&mut body, 1, &vec![7; request]);
        let actions = self.table.placed(&at(number, epoch, self.link, &body), self.now);
        self.did(actions);
    }

    /// Time passes at both ends, tick by tick; what the gateway wants.
    pub fn tick_to(&mut self, now: u64) -> Actions {
        let mut actions = Vec::new();
        while self.ticked < now {
            self.ticked = now.min(self.ticked + 500);
            actions.extend(self.table.tick(self.ticked));
            let wanted = self.logs.tick(self.ticked);
            self.worker
                .extend(wanted.into_iter().filter(|action| !matches!(action, Action::Link(_))));
        }
        self.now = now;
        actions
    }

    /// Both ends stand still until `now`, then tick once; what the gateway wants.
    pub fn freeze_to(&mut self, now: u64) -> Actions {
        (self.now, self.ticked) = (now, now);
        let wanted = self.logs.tick(now);
        self.worker
            .extend(wanted.into_iter().filter(|action| !matches!(action, Action::Link(_))));
        self.table.tick(now)
    }

    /// Take note of what the gateway wants.
    pub fn did(&mut self, actions: Actions) {
        for action in actions {
            match &action {
                Action::Link(_) => continue,
                Action::End(reader) => self.readers.entry(*reader).or_default().told_end = true,
                Action::Failed(reader, failure) => {
                    self.readers.entry(*reader).or_default().failed.push(failure.clone());
                }
                _ => {}
            }
            self.gateway.push(action);
        }
    }

    /// Move one frame each way; whether any moved.
    pub fn step(&mut self) -> bool {
        let frame = self.table.pull(self.link).map(<[u8]>::to_vec);
        let moved = frame.is_some();
        self.up.extend(frame);
        let frame = self.logs.pull(self.link).map(<[u8]>::to_vec);
        let moved = moved || frame.is_some();
        self.down.extend(frame);
        if let Some(frame) = self.up.pop_front() {
            let actions = self.logs.frame(self.link, &frame).expect("well-formed");
            self.worker
                .extend(actions.into_iter().filter(|action| !matches!(action, Action::Link(_))));
        }
        if let Some(frame) = self.down.pop_front() {
            let actions = self.table.frame(self.link, &frame, self.now).expect("well-formed");
            self.did(actions);
        }
        moved || !self.up.is_empty() || !self.down.is_empty()
    }

    /// Move frames until none is left.
    pub fn pump(&mut self) {
        let mut left = 100_000;
        while self.step() {
            left -= 1;
            assert!(left > 0, "the machines never come to rest");
        }
    }

    /// The link is cut with all that is on its way; the next one is there.
    pub fn cut(&mut self) {
        self.up.clear();
        self.down.clear();
        let actions = self.table.link_lost(self.link);
        self.did(actions);
        self.logs.link_lost(self.link);
        self.link += 1;
    }

    /// Run what the worker was asked to start; (job, epoch, position).
    pub fn serve(&mut self) -> Vec<(JobId, u32, Position)> {
        let mut started = Vec::new();
        for action in std::mem::take(&mut self.worker) {
            let Action::Start(link, job, epoch, body) = &action else {
                self.worker.push(action);
                continue;
            };
            let (tokens, bytes) = first_two(last_bytes(&body[..], 3).expect("position")).expect("position");
            let credit = numbers(body, 5);
            let position = Position { tokens, bytes };
            let who = Opening {
                job: *job,
                epoch: *epoch,
                link: *link,
                tenant: "acme",
                credit_bytes: credit as u32,
                position,
                chain_state: last_bytes(&body[..], 10).expect("chain"),
            };
            let actions = self.logs.start(&who, 1_000).expect("the chain fits");
            self.worker
                .extend(actions.into_iter().filter(|action| !matches!(action, Action::Link(_))));
            started.push((*job, *epoch, position));
        }
        started
    }

    /// Append tokens with their texts and an extra.
    pub fn say(&mut self, number: u8, epoch: u32, output: u16, tokens: &[(u32, &str)], extra: &[u8]) {
        let ids: Vec<u32> = tokens.iter().map(|token| token.0).collect();
        let lengths: Vec<u32> = tokens.iter().map(|token| token.1.len() as u32).collect();
        let text: String = tokens.iter().map(|token| token.1).collect();
        let piece = Piece {
            job: job(number),
            epoch,
            output,
            ids: &ids,
            lengths: &lengths,
            text: text.as_bytes(),
            extra,
        };
        self.logs.append(&[piece]).expect("well-formed");
    }

    /// End an attempt; its receipt commits to the chain.
    pub fn end(&mut self, number: u8, epoch: u32) {
        let (digest, _, _) = self.logs.chain(job(number), epoch).expect("known");
        let (mut body, mut receipt, mut chunk) = (Vec::new(), Vec::new(), Vec::new());
        put_bytes(&mut body, 2, &job(number));
        put_number(&mut body, 3, u64::from(epoch));
        put_bytes(&mut body, 15, &digest);
        put_bytes(&mut receipt, 1, &body);
        put_number(&mut chunk, 4, 1);
        put_bytes(&mut chunk, 14, &receipt);
        self.logs
            .end(job(number), epoch, &chunk, self.now)
            .expect("a last chunk");
    }

    /// A reader takes one chunk; whether there was one.
    pub fn take(&mut self, reader: u64) -> bool {
        let chunk = self.table.take(reader).map(<[u8]>::to_vec);
        let actions = self.table.actions();
        self.did(actions);
        if let (Some(chunk), Some(got)) = (&chunk, self.readers.get_mut(&reader)) {
            got.check(chunk);
        }
        chunk.is_some()
    }

    /// Every reader takes all there is.
    pub fn take_all(&mut self) {
        for reader in self.readers.keys().copied().collect::<Vec<_>>() {
            while self.take(reader) {}
        }
    }

    /// What the gateway wanted since the last call.
    pub fn wanted(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.gateway)
    }
}

/// Last value of a varint field.
pub fn numbers(message: &[u8], wanted: u32) -> u64 {
    let mut fields = Fields::new(message);
    let mut found = 0;
    while let Some(field) = fields.next_field().expect("well-formed") {
        if let (true, (_, Value::Varint(value))) = (field.0 == wanted, field) {
            found = value;
        }
    }
    found
}

impl Got {
    /// A chunk must follow the one before: numbered without holes, from where that one ended, nothing after the end.
    fn check(&mut self, chunk: &[u8]) {
        assert_eq!(self.ends, 0, "a chunk after the last");
        assert_eq!(numbers(chunk, 2), self.seq, "seq");
        assert_eq!(last_bytes(chunk, 1), Ok(&b"c"[..]), "stamp");
        let (_, bytes) = first_two(last_bytes(chunk, 6).expect("start")).expect("start");
        assert_eq!(bytes, self.bytes, "position");
        let text = last_bytes(last_bytes(chunk, 3).expect("payload"), 1).expect("text");
        assert!(std::str::from_utf8(text).is_ok(), "whole characters");
        self.text.entry(numbers(chunk, 7)).or_default().extend_from_slice(text);
        self.bytes += text.len() as u64;
        let mut fields = Fields::new(chunk);
        let mut started = 0;
        while let Some((number, value)) = fields.next_field().expect("well-formed") {
            match (number, value) {
                (8, Value::Bytes(extra)) => self.extras.push(extra.to_vec()),
                (17, _) => started += 1,
                _ => {}
            }
        }
        assert_eq!(
            started,
            usize::from(self.seq == 0),
            "started stands on the first chunk alone"
        );
        self.ends += usize::from(numbers(chunk, 4) == 1);
        self.seq += 1;
    }

    /// All text of output 0.
    pub fn text(&self) -> &str {
        self.text
            .get(&0)
            .map_or("", |text| std::str::from_utf8(text).expect("UTF-8"))
    }
}
