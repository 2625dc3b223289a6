package main

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
)

// Lets what arrives at one address out at another.
func relay(from, to string) {
	listener, err := net.Listen("tcp4", from)
	if err != nil {
		log.Fatal(err)
	}
	for {
		near, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			defer near.Close()
			far, err := net.Dial("tcp4", to)
			if err != nil {
				log.Print(err)
				return
			}
			defer far.Close()
			go func() {
				_, _ = io.Copy(far, near)
				_ = far.(*net.TCPConn).CloseWrite()
			}()
			_, _ = io.Copy(near, far)
		}()
	}
}

// Lets containerd read what OCI registries on loopback hold: as the mirror of all, it is told which one is meant.
func registries(address string) {
	proxy := &httputil.ReverseProxy{Rewrite: func(request *httputil.ProxyRequest) {
		request.Out.URL.Scheme = "http"
		request.Out.URL.Host = request.In.URL.Query().Get("ns")
		request.Out.Host = request.Out.URL.Host
	}}
	handler := func(writer http.ResponseWriter, request *http.Request) {
		host, _, err := net.SplitHostPort(request.URL.Query().Get("ns"))
		if ip := net.ParseIP(host); err != nil || (host != "localhost" && (ip == nil || !ip.IsLoopback())) {
			http.Error(writer, "only registries on loopback are behind this", http.StatusNotFound)
			return
		}
		proxy.ServeHTTP(writer, request)
	}
	log.Fatal(http.ListenAndServe(address, http.HandlerFunc(handler)))
}
