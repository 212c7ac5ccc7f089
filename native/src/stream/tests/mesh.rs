//! A gateway, workers that die and links that break, each end by itself; what an engine and a driver do stands here.

use super::oracle::{FIELD, Follow, JOBS, Oracle};
use super::story::packed;
use super::world::{job, log_settings, numbers, table_settings};
use crate::stream::failure::MALFORMED;
use crate::stream::wire::{first_two, last_bytes, put_bytes, put_number};
use crate::stream::{
    Action, Actions, ChunkLogs, JobId, Join, OpenJob, Opening, Piece, Placing, Position, Start, StreamTable,
    TableSettings,
};
use std::collections::{BTreeMap, VecDeque};

/// Workers of a mesh.
pub const WORKERS: usize = 3;
const RERUN: u32 = 3;

/// One link, which either end may lose before the other.
pub struct Wire {
    pub worker: usize,
    pub up: VecDeque<Vec<u8>>,
    pub down: VecDeque<Vec<u8>>,
    pub gateway: bool,
    pub far: bool,
}

/// A gateway, workers that die, links that break.
pub struct Mesh {
    pub table: StreamTable,
    pub workers: Vec<ChunkLogs>,
    pub wires: BTreeMap<u64, Wire>,
    pub engines: BTreeMap<(usize, u8, u32), u64>,
    pub placed: BTreeMap<(u8, u32), usize>,
    pub newest: BTreeMap<u8, u32>,
    pub oracles: Vec<Oracle>,
    pub readers: BTreeMap<u64, Follow>,
    pub joined: u64,
    pub done: Vec<u8>,
    pub todo: Vec<Action>,
    pub now: u64,
    pub links: u64,
    pub luck: u64,
    pub seen: BTreeMap<&'static str, u64>,
}

impl Mesh {
    pub fn new(totals: &[u64], window_bytes: u32, luck: u64) -> Self {
        let settings = TableSettings {
            window_bytes,
            hold_failed: true,
            silence_ms: 600_000,
            ..table_settings()
        };
        let mut mesh = Self {
            table: StreamTable::new(settings),
            workers: (0..WORKERS).map(|_| ChunkLogs::new(log_settings())).collect(),
            wires: BTreeMap::new(),
            engines: BTreeMap::new(),
            placed: BTreeMap::new(),
            newest: BTreeMap::new(),
            oracles: (0..JOBS).map(|n| Oracle::new(n, totals[usize::from(n)])).collect(),
            readers: BTreeMap::new(),
            joined: 0,
            done: Vec::new(),
            todo: Vec::new(),
            now: 0,
            links: 0,
            luck: luck | 1,
            seen: BTreeMap::new(),
        };
        for number in 0..JOBS {
            let open = OpenJob {
                job: job(number),
                driver: true,
                keep_answer_bytes: 100_000,
                on_disconnect: 1,
                deadline_ms: 1_000_000_000,
            };
            mesh.table.open(&open, 0).expect("not open");
            mesh.join(number, Position::default());
            mesh.place(number, false);
        }
        mesh
    }

    pub fn chance(&mut self, of: u64) -> u64 {
        self.luck ^= self.luck << 13;
        self.luck ^= self.luck >> 7;
        self.luck ^= self.luck << 17;
        self.luck % of
    }

    pub fn count(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    pub fn join(&mut self, number: u8, begin: Position) {
        if !self.table.known(job(number)) {
            return;
        }
        self.joined += 1;
        let chain_state = if self.chance(4) > 0 {
            self.oracles[usize::from(number)].chain(begin)
        } else {
            Vec::new()
        };
        let follow = Follow {
            number,
            begin,
            at: begin,
            ..Follow::default()
        };
        self.readers.insert(self.joined, follow);
        let join = Join {
            reader: self.joined,
            stamp: b"",
            first: b"",
            start: Start {
                position: begin,
                chain_state,
            },
            continuation: true,
        };
        let actions = self.table.join(job(number), &join).expect("free");
        self.act(actions);
    }

    /// The newest whole link to a worker, or a new one.
    pub fn link_to(&mut self, worker: usize) -> u64 {
        let whole = |wire: &Wire| wire.worker == worker && wire.gateway && wire.far;
        if let Some((link, _)) = self.wires.iter().rev().find(|(_, wire)| whole(wire)) {
            return *link;
        }
        self.links += 1;
        let wire = Wire {
            worker,
            up: VecDeque::new(),
            down: VecDeque::new(),
            gateway: true,
            far: true,
        };
        self.wires.insert(self.links, wire);
        self.links
    }

    pub fn place(&mut self, number: u8, race: bool) {
        let epoch = self.newest.get(&number).map_or(1, |epoch| epoch + 1);
        let worker = self.chance(WORKERS as u64) as usize;
        self.newest.insert(number, epoch);
        self.placed.insert((number, epoch), worker);
        let continuity = if epoch == 1 { 0 } else { 1 + self.chance(3) as u32 };
        self.send(number, epoch, worker, continuity, race);
    }

    pub fn send(&mut self, number: u8, epoch: u32, worker: usize, continuity: u32, race: bool) {
        let link = self.link_to(worker);
        let placing = Placing {
            job: job(number),
            epoch,
            link,
            body: b"\x0a\x03ask",
            continuity,
            driver: None,
        };
        let actions = if race {
            self.table.race(&placing, self.now)
        } else {
            self.table.placed(&placing, self.now)
        };
        self.act(actions);
    }

    pub fn act(&mut self, actions: Actions) {
        for action in actions {
            match &action {
                Action::End(reader) => self.readers.get_mut(reader).expect("it reads").told_end = true,
                Action::Failed(reader, failure) => {
                    let follow = self.readers.get_mut(reader).expect("it reads");
                    follow.failed.push(failure.clone());
                }
                Action::Finish(job) => self.done.push(job[0]),
                Action::Won(..) => self.count("won"),
                Action::LostRace(..) => self.count("lost race"),
                Action::Silent(..) | Action::Lost(..) | Action::Commit(..) => self.todo.push(action),
                _ => {}
            }
        }
    }

    /// Answer what the table asks: reattach, place anew, commit or have the commit refused.
    pub fn answer(&mut self) {
        for action in std::mem::take(&mut self.todo) {
            let (Action::Silent(id, epoch) | Action::Lost(id, epoch, ..) | Action::Commit(id, epoch, ..)) = &action
            else {
                continue;
            };
            let (number, epoch) = (id[0], *epoch);
            let present = self.table.look(job(number)).is_some_and(|(now, _, _)| now == epoch);
            if self.done.contains(&number) || !present {
                continue;
            }
            match (&action, self.chance(3)) {
                (Action::Commit(..), 1..) => {
                    let actions = self.table.committed(job(number), epoch, 2, 1);
                    self.act(actions);
                }
                (Action::Silent(..), 0) => {
                    self.count("reattached");
                    self.send(number, epoch, self.placed[&(number, epoch)], 0, false);
                }
                _ => self.place(number, false),
            }
        }
    }

    pub fn step(&mut self) -> bool {
        let mut moved = false;
        for link in self.wires.keys().copied().collect::<Vec<_>>() {
            let wire = self.wires.get_mut(&link).expect("a wire");
            if wire.gateway
                && let Some(frame) = self.table.pull(link)
            {
                wire.up.push_back(frame.to_vec());
            }
            if wire.far
                && let Some(frame) = self.workers[wire.worker].pull(link)
            {
                wire.down.push_back(frame.to_vec());
            }
            let (worker, up, down) = (wire.worker, wire.up.pop_front(), wire.down.pop_front());
            let (gateway, far) = (wire.gateway, wire.far);
            moved |= up.is_some() || down.is_some();
            if let Some(frame) = up.filter(|_| far) {
                let actions = self.workers[worker].frame(link, &frame).expect("well-formed");
                self.serve(worker, actions);
            }
            if let Some(frame) = down.filter(|_| gateway) {
                let actions = self.table.frame(link, &frame, self.now).expect("well-formed");
                self.act(actions);
            }
        }
        moved
    }

    pub fn serve(&mut self, worker: usize, actions: Actions) {
        for action in actions {
            match action {
                Action::Start(link, id, epoch, body) => self.start(worker, link, id, epoch, &body),
                Action::Cancel(id, epoch) => {
                    self.engines.remove(&(worker, id[0], epoch));
                    let _ = self.workers[worker].fail(id, epoch, &MALFORMED.serialize(), self.now);
                }
                _ => {}
            }
        }
    }

    pub fn start(&mut self, worker: usize, link: u64, id: JobId, epoch: u32, body: &[u8]) {
        let number = id[0];
        let oracle = &self.oracles[usize::from(number)];
        let (tokens, bytes) = first_two(last_bytes(body, 3).expect("position")).expect("position");
        let position = Position { tokens, bytes };
        let state = last_bytes(body, 10).expect("chain");
        let (prefix, outputs) = (packed(body, 4), packed(body, 14));
        assert_eq!(
            prefix,
            oracle.ids[..tokens as usize]
                .iter()
                .map(|id| u64::from(*id))
                .collect::<Vec<_>>()
        );
        let theirs = oracle.outputs[..tokens as usize].iter().map(|one| u64::from(*one));
        assert!(outputs.is_empty() && theirs.clone().all(|one| one == 0) || theirs.eq(outputs.iter().copied()));
        assert!(state.is_empty() && bytes == 0 && tokens == 0 || state == oracle.chain(position));
        let who = Opening {
            job: id,
            epoch,
            link,
            tenant: "acme",
            credit_bytes: numbers(body, 5) as u32,
            position,
            chain_state: state,
        };
        let at = oracle.ends.partition_point(|end| *end < bytes as usize) as u64;
        let at = if oracle.opaque() { at } else { tokens };
        let actions = self.workers[worker].start(&who, 1_000_000).expect("it fits");
        if actions.contains(&Action::Run(id, epoch)) {
            if numbers(body, 12) == u64::from(RERUN) && at == 0 {
                self.count("rerun");
            }
            self.engines.insert((worker, number, epoch), at);
            if tokens > 0 && self.chance(2) == 0 {
                self.preload(worker, number, epoch, tokens);
            }
        }
    }

    pub fn preload(&mut self, worker: usize, number: u8, epoch: u32, tokens: u64) {
        let oracle = &self.oracles[usize::from(number)];
        for _ in 0..2 {
            let lengths: Vec<u32> = oracle.ends.windows(2).map(|pair| (pair[1] - pair[0]) as u32).collect();
            let pieces: Vec<Piece<'_>> = (0..tokens as usize)
                .map(|at| Piece {
                    job: job(number),
                    epoch,
                    output: oracle.outputs[at],
                    ids: &oracle.ids[at..=at],
                    lengths: &lengths[at..=at],
                    text: &oracle.text[oracle.ends[at]..oracle.ends[at + 1]],
                    extra: b"",
                })
                .collect();
            let _ = self.workers[worker]
                .preload(job(number), epoch, &pieces)
                .expect("it fits");
        }
        let end = oracle.ends[tokens as usize];
        let whole = self.workers[worker].answer(job(number), epoch, 1_000_000);
        let answer = whole
            .as_deref()
            .map(|answer| last_bytes(answer, 1).expect("text").to_vec());
        assert!(
            number == 1 || answer.as_deref() == Some(&oracle.text[..end]),
            "the answer is whole again"
        );
    }

    pub fn generate(&mut self, key: (usize, u8, u32), count: u64) {
        let Some(at) = self.engines.get_mut(&key) else { return };
        let ((worker, number, epoch), oracle) = (key, &self.oracles[usize::from(key.1)]);
        let from = *at as usize;
        *at = (*at + count).min(oracle.total());
        let (to, logs) = (*at as usize, &mut self.workers[worker]);
        if oracle.opaque() {
            let part = &oracle.text[from * FIELD..to * FIELD];
            if !part.is_empty() {
                let _ = logs.append_payload(job(number), epoch, 0, part).expect("fits");
            }
        }
        for at in (from..to).filter(|_| !oracle.opaque()) {
            let text = &oracle.text[oracle.ends[at]..oracle.ends[at + 1]];
            let extra = oracle.extras[at].map_or(Vec::new(), |mark| [&b"\x42\x04"[..], &mark].concat());
            let piece = Piece {
                job: job(number),
                epoch,
                output: oracle.outputs[at],
                ids: &oracle.ids[at..=at],
                lengths: &[text.len() as u32],
                text,
                extra: &extra,
            };
            let _ = logs.append(&[piece]).expect("well-formed");
        }
        if to as u64 == oracle.total() {
            self.engines.remove(&key);
            self.end(worker, number, epoch);
        }
    }

    pub fn end(&mut self, worker: usize, number: u8, epoch: u32) {
        let (digest, _, _) = self.workers[worker].chain(job(number), epoch).expect("known");
        let (mut body, mut receipt, mut chunk) = (Vec::new(), Vec::new(), Vec::new());
        put_bytes(&mut body, 2, &job(number));
        put_number(&mut body, 3, u64::from(epoch));
        put_bytes(&mut body, 15, &digest);
        put_bytes(&mut receipt, 1, &body);
        put_number(&mut chunk, 4, 1);
        put_bytes(&mut chunk, 14, &receipt);
        let ended = self.workers[worker].end(job(number), epoch, &chunk, self.now);
        let _ = ended.expect("a last chunk");
    }

    pub fn take(&mut self, reader: u64) -> bool {
        let chunk = self.table.take(reader).map(<[u8]>::to_vec);
        let actions = self.table.actions();
        self.act(actions);
        if let (Some(chunk), Some(follow)) = (&chunk, self.readers.get_mut(&reader)) {
            follow.check(chunk, &self.oracles[usize::from(follow.number)]);
        }
        chunk.is_some()
    }

    pub fn lose(&mut self, link: u64, near: bool) {
        let Some(wire) = self.wires.get_mut(&link) else { return };
        if near && std::mem::replace(&mut wire.gateway, false) {
            let actions = self.table.link_lost(link);
            self.act(actions);
        } else if !near && std::mem::replace(&mut wire.far, false) {
            self.workers[wire.worker].link_lost(link);
        }
    }

    /// What one end knows already the other end hears now.
    pub fn hear_losses(&mut self) {
        for link in self.wires.keys().copied().collect::<Vec<_>>() {
            let (near, far) = (self.wires[&link].gateway, self.wires[&link].far);
            if near != far {
                self.lose(link, near);
            }
        }
    }

    pub fn kill(&mut self, worker: usize) {
        self.workers[worker] = ChunkLogs::new(log_settings());
        self.engines.retain(|key, _| key.0 != worker);
        for wire in self.wires.values_mut().filter(|wire| wire.worker == worker) {
            wire.far = false;
        }
    }
}
