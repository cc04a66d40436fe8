// Keeps the typed address between the two posts of the sign-in form, in this
// tab only. Without scripts the customer types it twice; nothing else changes.
(function () {
	var form = document.getElementById('signin');
	var address = document.getElementById('username');
	try {
		address.value = address.value || sessionStorage.getItem('signin-address') || '';
		form.addEventListener('submit', function () {
			sessionStorage.setItem('signin-address', address.value);
		});
	} catch (e) {
		// storage is switched off in this browser
	}
})();
