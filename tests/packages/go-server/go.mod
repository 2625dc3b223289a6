module example.test/answer

go 1.19
