//! Strings that many hosts share.

use std::collections::HashMap;

/// A set of strings, each once, under numbers from 0 in the order in which they came.
#[derive(Clone, Debug, Default)]
pub struct Strings {
    known: HashMap<Box<str>, u32>,
    texts: Vec<Box<str>>,
    /// Lists come grouped by network and project more often than not.
    recent: [u32; 4],
}

impl Strings {
    /// The number of a string, which is new if the string is.
    pub fn intern(&mut self, text: &str) -> u32 {
        for &index in &self.recent {
            if self.texts.get(index as usize).is_some_and(|known| **known == *text) {
                return index;
            }
        }
        let index = match self.known.get(text) {
            Some(&index) => index,
            None => {
                let index = self.texts.len() as u32;
                self.texts.push(text.into());
                self.known.insert(text.into(), index);
                index
            }
        };
        self.recent.rotate_right(1);
        self.recent[0] = index;
        index
    }

    /// The string with this number.
    ///
    /// # Panics
    /// If [`Strings::intern`] never gave that number.
    pub fn text(&self, index: u32) -> &str {
        &self.texts[index as usize]
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// All of them, by number.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.texts.iter().map(|text| &**text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_keeps_its_number() {
        let mut strings = Strings::default();
        let names = ["a", "b", "", "c", "d", "e", "f"];
        let numbers: Vec<u32> = names.iter().map(|name| strings.intern(name)).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6]);
        for (name, number) in names.iter().zip(numbers).rev() {
            assert_eq!((strings.intern(name), strings.text(number)), (number, *name));
        }
        assert_eq!(strings.len(), names.len());
    }
}
