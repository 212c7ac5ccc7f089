//! Links by number: present ones with what waits for them, and the last ones that were lost.
//!
//! A number is never used again, so whatever comes late for a lost link is dropped instead of waiting for ever.

use super::KeyMap;
use std::collections::VecDeque;

/// Lost links that are remembered: what comes late comes within seconds, and few links are lost in these.
const LOST_MAX: usize = 1_024;

/// See the module.
#[derive(Debug)]
pub struct Links<T> {
    present: KeyMap<u64, T>,
    lost: VecDeque<u64>,
}

impl<T> Default for Links<T> {
    fn default() -> Self {
        Self {
            present: KeyMap::default(),
            lost: VecDeque::new(),
        }
    }
}

impl<T: Default> Links<T> {
    /// A link, which begins with its first use; None once it is lost.
    pub fn lane(&mut self, link: u64) -> Option<&mut T> {
        if !self.present.contains_key(&link) && self.lost.contains(&link) {
            return None;
        }
        Some(self.present.entry(link).or_default())
    }

    /// A link that was used.
    pub fn get_mut(&mut self, link: u64) -> Option<&mut T> {
        self.present.get_mut(&link)
    }

    /// Forget a link for good.
    pub fn lose(&mut self, link: u64) {
        self.present.remove(&link);
        self.lost.push_back(link);
        if self.lost.len() > LOST_MAX {
            self.lost.pop_front();
        }
    }

    /// All present links.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.present.values()
    }

    /// All present links with their numbers.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&u64, &mut T)> {
        self.present.iter_mut()
    }

    /// How many are present.
    pub fn len(&self) -> usize {
        self.present.len()
    }
}
