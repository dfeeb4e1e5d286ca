//! OpenSSH's `sk-api.h`, version 10 (OpenSSH 8.9 and later), in the names and layouts that C expects. All
//! memory that is handed over is malloc'ed: ssh-sk-helper frees it.

#![allow(
    unsafe_code,
    reason = "a C interface that ssh-sk-helper loads: exported names, raw pointers, malloc"
)]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;

use crate::key::{self, Key};

/// `struct sk_enroll_response`
#[repr(C)]
pub struct EnrollResponse {
    flags: u8,
    public_key: *mut u8,
    public_key_len: usize,
    key_handle: *mut u8,
    key_handle_len: usize,
    signature: *mut u8,
    signature_len: usize,
    attestation_cert: *mut u8,
    attestation_cert_len: usize,
    authdata: *mut u8,
    authdata_len: usize,
}

/// `struct sk_sign_response`
#[repr(C)]
pub struct SignResponse {
    flags: u8,
    counter: u32,
    sig_r: *mut u8,
    sig_r_len: usize,
    sig_s: *mut u8,
    sig_s_len: usize,
}

/// `SSH_SK_VERSION_MAJOR`
#[unsafe(no_mangle)]
pub extern "C" fn sk_api_version() -> u32 {
    0x000a_0000
}

/// Makes a key. The attestation is empty, as OpenSSH allows.
///
/// # Safety
///
/// As `sk-api.h` says: `challenge` has `challenge_len` bytes, `response` may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sk_enroll(
    alg: u32,
    challenge: *const u8,
    challenge_len: usize,
    _application: *const c_char,
    flags: u8,
    _pin: *const c_char,
    _options: *mut *mut c_void,
    response: *mut *mut EnrollResponse,
) -> c_int {
    if alg != SSH_SK_ED25519 || flags & SSH_SK_RESIDENT_KEY != 0 {
        return SSH_SK_ERR_UNSUPPORTED;
    }
    // SAFETY: the caller gives that many bytes.
    let Some(challenge) = (unsafe { bytes(challenge, challenge_len) }) else {
        return SSH_SK_ERR_GENERAL;
    };
    let key = Key::enrol(challenge);
    let (public_key, key_handle) = (key.public(), key.handle());
    let made = EnrollResponse {
        flags,
        public_key: malloced(&public_key),
        public_key_len: public_key.len(),
        key_handle: malloced(&key_handle),
        key_handle_len: key_handle.len(),
        // Asked for, but looked at by nobody without an attestation.
        signature: malloced(&[0]),
        signature_len: 1,
        attestation_cert: ptr::null_mut(),
        attestation_cert_len: 0,
        authdata: ptr::null_mut(),
        authdata_len: 0,
    };
    // SAFETY: the caller gives a place for one pointer.
    unsafe { hand_over(made, response) }
}

/// Signs `data`, the whole message.
///
/// # Safety
///
/// As `sk-api.h` says: the lengths are those of what is pointed at, `application` ends with a zero byte,
/// `response` may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sk_sign(
    alg: u32,
    data: *const u8,
    data_len: usize,
    application: *const c_char,
    key_handle: *const u8,
    key_handle_len: usize,
    _flags: u8,
    _pin: *const c_char,
    _options: *mut *mut c_void,
    response: *mut *mut SignResponse,
) -> c_int {
    if alg != SSH_SK_ED25519 {
        return SSH_SK_ERR_UNSUPPORTED;
    }
    if application.is_null() {
        return SSH_SK_ERR_GENERAL;
    }
    // SAFETY: not null, and ends with a zero byte.
    let application = unsafe { CStr::from_ptr(application) };
    // SAFETY: the caller gives that many bytes of each.
    let (data, handle) = unsafe { (bytes(data, data_len), bytes(key_handle, key_handle_len)) };
    let (Some(data), Some(key)) = (data, handle.and_then(Key::of_handle)) else {
        return SSH_SK_ERR_GENERAL;
    };
    let (Some(flags), Some(counter)) = (key::flags(), key::count()) else {
        return SSH_SK_ERR_GENERAL;
    };
    let signed = key.sign(application.to_bytes(), data, flags, counter);
    let made = SignResponse {
        flags: signed.flags,
        counter: signed.counter,
        sig_r: malloced(&signed.signature),
        sig_r_len: signed.signature.len(),
        sig_s: ptr::null_mut(),
        sig_s_len: 0,
    };
    // SAFETY: the caller gives a place for one pointer.
    unsafe { hand_over(made, response) }
}

/// There are no resident keys.
#[unsafe(no_mangle)]
pub extern "C" fn sk_load_resident_keys(
    _pin: *const c_char,
    _options: *mut *mut c_void,
    _keys: *mut *mut *mut c_void,
    _count: *mut usize,
) -> c_int {
    SSH_SK_ERR_UNSUPPORTED
}

/// # Safety
///
/// `start` is null or has `len` bytes that stay for as long as the result is used.
unsafe fn bytes<'a>(start: *const u8, len: usize) -> Option<&'a [u8]> {
    if start.is_null() {
        return None;
    }
    // SAFETY: as above, and not null.
    Some(unsafe { std::slice::from_raw_parts(start, len) })
}

/// A copy that C frees; null when there is no memory.
fn malloced(bytes: &[u8]) -> *mut u8 {
    // SAFETY: malloc may always be called; what it gives has room for `bytes` and is nobody else's.
    unsafe {
        let copy = libc::malloc(bytes.len()).cast::<u8>();
        if !copy.is_null() {
            ptr::copy_nonoverlapping(bytes.as_ptr(), copy, bytes.len());
        }
        copy
    }
}

/// Moves `value` to where C frees it.
///
/// # Safety
///
/// `to` is null or may be written to.
unsafe fn hand_over<T>(value: T, to: *mut *mut T) -> c_int {
    if to.is_null() {
        return SSH_SK_ERR_GENERAL;
    }
    // SAFETY: malloc's memory has room for a `T` and is aligned for it; `to` may be written to.
    unsafe {
        let place = libc::malloc(size_of::<T>()).cast::<T>();
        if place.is_null() {
            return SSH_SK_ERR_GENERAL;
        }
        place.write(value);
        to.write(place);
    }
    0
}

const SSH_SK_ED25519: u32 = 1;
const SSH_SK_RESIDENT_KEY: u8 = 0x20;
const SSH_SK_ERR_GENERAL: c_int = -1;
const SSH_SK_ERR_UNSUPPORTED: c_int = -2;
