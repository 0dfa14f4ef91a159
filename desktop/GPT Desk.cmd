@echo off
rem Double-click to start GPT Desk on Windows. The window stays open after an error.
setlocal
set "PYTHON=python"
where py >nul 2>nul && set "PYTHON=py -3"
%PYTHON% "%~dp0..\launch.py" %*
set "CODE=%ERRORLEVEL%"
if "%CODE%"=="9009" echo GPT Desk needs Python 3.11 or newer: https://www.python.org/downloads/
if not "%CODE%"=="0" if not "%CODE%"=="130" pause
exit /b %CODE%
